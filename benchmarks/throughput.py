"""Requests per second and latency: AnyPod, nginx before plain workers, and AnyPod's own gateway
with aiohttp's HTTP client in the place of its links."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import anypod_stack, goals, load, processes
from benchmarks.goals import Measured
from benchmarks.load import Rival, Sample
from benchmarks.nginx import nginx

ANYPOD = "AnyPod: gateway, 2 workers"
NGINX = "nginx, 2 aiohttp workers"
HTTP_CLIENT = "AnyPod's gateway over aiohttp's client"
WORKERS = 2
EXECUTORS = 2


def measure(console: Console, *, rounds: int, seconds: int) -> list[Measured]:
    with tempfile.TemporaryDirectory() as name, rivals(Path(name)) as all_rivals:
        for rival in all_rivals:
            load.run(rival, 8, 1)  # warm
        found = {c: load.alternate(all_rivals, c, rounds, seconds) for c in (1, 32, 64)}
    console.print(_table(found))
    busy, single = found[32], found[1][ANYPOD]
    against_nginx = load.ratios(busy[ANYPOD], busy[NGINX])
    against_client = load.ratios(busy[ANYPOD], busy[HTTP_CLIENT])
    latency = tuple(sample.p50_ms for sample in single)
    return [
        Measured(goals.NGINX, load.median(against_nginx), against_nginx),
        Measured(goals.HTTP_CLIENT, load.median(against_client), against_client),
        Measured(goals.LATENCY, load.median(latency), latency),
    ]


@contextmanager
def rivals(directory: Path) -> Iterator[list[Rival]]:
    """All started, each proven to give the right answer."""
    with ExitStack() as stack:
        stack.enter_context(anypod_stack.workers(directory, WORKERS, EXECUTORS))
        plain = [stack.enter_context(_plain_worker(directory)) for _ in range(WORKERS)]
        ours = stack.enter_context(anypod_stack.gateway(directory))
        ports = ",".join(map(str, plain))
        other = stack.enter_context(
            anypod_stack.gateway(directory, "benchmarks.http_client_gateway", ports)
        )
        front = stack.enter_context(nginx(directory, plain))
        found = [
            Rival(ANYPOD, anypod_stack.create_program(ours), anypod_stack.INPUTS),
            Rival(NGINX, f"{front}/run", anypod_stack.INPUTS),
            Rival(HTTP_CLIENT, anypod_stack.create_program(other), anypod_stack.INPUTS),
        ]
        for rival in found:
            _prove(rival)
        yield found


@contextmanager
def _plain_worker(directory: Path) -> Iterator[int]:
    port = processes.free_port()
    command = processes.python("-m", "benchmarks.plain_worker", str(port))
    with processes.running(command, directory / f"plain-{port}.log"):
        url = f"http://127.0.0.1:{port}/run"
        processes.wait_for("a plain worker", lambda: processes.answers(url, anypod_stack.INPUTS))
        yield port


def _prove(rival: Rival) -> None:
    processes.wait_for(
        f"an answer of {rival.name}", lambda: processes.answers(rival.url, rival.body)
    )
    _, body = processes.ask(rival.url, rival.body)
    assert json.loads(body)["outputs"] == anypod_stack.OUTPUTS, rival.name


def _table(found: dict[int, dict[str, list[Sample]]]) -> Table:
    table = Table(title="One trivial program, medians", title_justify="left")
    table.add_column("")
    for connections in found:
        table.add_column(f"c={connections}\nrequests/s", justify="right")
        table.add_column("p50 / p99\nms", justify="right")
    for name in (ANYPOD, NGINX, HTTP_CLIENT):
        cells = []
        for samples in found.values():
            of = samples[name]
            p50 = load.median([one.p50_ms for one in of])
            p99 = load.median([one.p99_ms for one in of])
            cells += [
                f"{load.median([one.per_second for one in of]):,.0f}",
                f"{p50:.2f} / {p99:.2f}",
            ]
        table.add_row(name, *cells)
    return table
