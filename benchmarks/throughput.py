"""Requests per second and latency: AnyPod, nginx before plain workers, and AnyPod's own gateway
with aiohttp's HTTP client in the place of its links."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import anypod_stack, goals, load, processes
from benchmarks.goals import Measured
from benchmarks.load import Rival, Sample
from benchmarks.nginx import nginx

ANYPOD = "AnyPod: a gateway, 2 workers"
NGINX = "nginx before 2 aiohttp workers"
HTTP_CLIENT = "the same gateway over aiohttp's client"
WORKERS = 2
EXECUTORS = 2


Found = dict[int, dict[str, list[Sample]]]
"""By number of connections and rival, one sample per round."""


def measure(
    console: Console, *, rounds: int, seconds: int, quick: bool
) -> tuple[list[Measured], Found]:
    with tempfile.TemporaryDirectory() as name, rivals(Path(name)) as all_rivals:
        for rival in all_rivals if not quick else ():
            load.run(rival, 8, 1)  # warm
        found = {c: load.alternate(all_rivals, c, rounds, seconds) for c in (1, 32, 64)}
    console.print(_table(found))
    busy, single = found[32], found[1][ANYPOD]
    against_nginx = load.ratios(busy[ANYPOD], busy[NGINX])
    against_client = load.ratios(busy[ANYPOD], busy[HTTP_CLIENT])
    latency = tuple(sample.p50_ms for sample in single)
    results = [
        Measured(goals.NGINX, load.median(against_nginx), against_nginx),
        Measured(goals.HTTP_CLIENT, load.median(against_client), against_client),
        Measured(goals.LATENCY, load.median(latency), latency),
    ]
    return results, found


@contextmanager
def rivals(directory: Path) -> Iterator[list[Rival]]:
    """All started, each proven to give the right answer."""
    with ExitStack() as stack:
        enter = stack.enter_context
        workers = enter(anypod_stack.workers(directory, anypod_stack.pool(WORKERS, EXECUTORS)))
        plain = dict(enter(_plain_worker(directory)) for _ in range(WORKERS))
        ours, our_pid = enter(anypod_stack.gateway(directory))
        ports = ",".join(map(str, plain))
        other, other_pid = enter(
            anypod_stack.gateway(directory, "benchmarks.http_client_gateway", ports)
        )
        front, front_pid = enter(nginx(directory, list(plain)))
        inputs, plain_pids = anypod_stack.INPUTS, plain.values()
        found = [
            Rival(ANYPOD, anypod_stack.create_program(ours), inputs, (our_pid, *workers)),
            Rival(NGINX, f"{front}/run", inputs, (front_pid, *plain_pids)),
            Rival(
                HTTP_CLIENT, anypod_stack.create_program(other), inputs, (other_pid, *plain_pids)
            ),
        ]
        told = {rival.name: _prove(rival) for rival in found}
        assert told[HTTP_CLIENT]["execution"]["worker"] in map(str, plain), "it has another way"
        yield found


@contextmanager
def _plain_worker(directory: Path) -> Iterator[tuple[int, int]]:
    """Its port and its pid."""
    port = processes.free_port()
    command = processes.python("-m", "benchmarks.plain_worker", str(port))
    with processes.running(command, directory / f"plain-{port}.log") as process:
        url = f"http://127.0.0.1:{port}/run"
        processes.wait_for("a plain worker", lambda: processes.answers(url, anypod_stack.INPUTS))
        yield port, process.pid


def _prove(rival: Rival) -> Any:
    """What it answers."""
    processes.wait_for(
        f"an answer of {rival.name}", lambda: processes.answers(rival.url, rival.body)
    )
    _, body = processes.ask(rival.url, rival.body)
    told = json.loads(body)
    assert told["outputs"] == anypod_stack.OUTPUTS, rival.name
    return told


def _table(found: Found) -> Table:
    table = Table(title="One trivial program, medians over the rounds", title_justify="left")
    for heading in ("", "connections", "requests/s", "p50 ms", "p99 ms", "CPU µs/request"):
        table.add_column(heading, justify="right" if heading else "left")
    for connections, samples in found.items():
        for name, taken in samples.items():
            table.add_row(name, str(connections), *_medians(taken))
        table.add_section()
    return table


def _medians(taken: list[Sample]) -> tuple[str, ...]:
    return (
        f"{load.median([one.per_second for one in taken]):,.0f}",
        f"{load.median([one.p50_ms for one in taken]):.2f}",
        f"{load.median([one.p99_ms for one in taken]):.2f}",
        f"{load.median([one.cpu_us for one in taken]):.0f}",
    )
