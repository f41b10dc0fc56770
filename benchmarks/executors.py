"""What an executor costs: the time until a dead one is replaced, and the memory of one more."""

import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from benchmarks import anypod_stack, goals, load, processes
from benchmarks.goals import Measured

FEW = 1
MANY, MANY_QUICKLY = 9, 3
DEATHS, DEATHS_QUICKLY = 10, 2
NAME = "anypod-executor"
SLEEPER = """
import time

def main(seconds: float) -> None:
    time.sleep(seconds)
"""


def measure(*, rounds: int, quick: bool) -> list[Measured]:
    replaced = tuple(_replacements(DEATHS_QUICKLY if quick else DEATHS))
    memory = tuple(one_more(_used_worker, quick=quick) for _ in range(min(rounds, 3)))
    return [
        Measured(goals.REPLACED, load.median(replaced), replaced),
        Measured(goals.MEMORY, load.median(memory), memory),
    ]


def of_worker(worker: int) -> set[int]:
    """Pids of a worker's executors, those in reserve too."""
    found = set()
    for pid in processes.children(worker):
        try:
            if Path(f"/proc/{pid}/comm").read_text().strip() == NAME:
                found.add(pid)
        except OSError:
            continue
    return found


def _idle(url: str) -> int:
    _, text = processes.ask(f"{url}/metrics")
    prefix = "anypod_worker_executors_idle "
    lines = text.decode().splitlines()
    return next(int(line.removeprefix(prefix)) for line in lines if line.startswith(prefix))


def _replacements(deaths: int) -> Iterator[float]:
    """Milliseconds from the kill of a worker's only executor until it has one that is warm.

    The one that a worker keeps in reserve is killed along with it: else that takes the place at
    once, and nothing would be measured but that.
    """
    with tempfile.TemporaryDirectory() as name:
        directory, port = Path(name), processes.free_port()
        (directory / "token").write_text("benchmark")
        given = anypod_stack.pool(1, 1)
        url = f"http://127.0.0.1:{port}"
        with anypod_stack.worker(directory, "w1", given, port) as worker:
            for _ in range(deaths):
                processes.wait_for("a spare", lambda: len(of_worker(worker)) > 1)
                time.sleep(0.2)  # for the spare to be warm, which nothing says
                yield _replacement(worker, url)


def _replacement(worker: int, url: str) -> float:
    victims = of_worker(worker)
    began = time.perf_counter()
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    processes.wait_for(
        "a new executor", lambda: bool(of_worker(worker) - victims) and _idle(url) == 1
    )
    return (time.perf_counter() - began) * 1000


def one_more(used_worker: Callable[[int], AbstractContextManager[int]], *, quick: bool) -> float:
    """MiB that one more executor adds to the worker's whole, when each has run something.

    ``used_worker`` gives the pid of a worker of so many executors.
    """
    sizes, many = {}, MANY_QUICKLY if quick else MANY
    for count in (FEW, many):
        with used_worker(count) as worker:
            sizes[count] = sum(processes.pss(pid) for pid in processes.tree(worker))
    return (sizes[many] - sizes[FEW]) / (many - FEW) / 2**20


@contextmanager
def _used_worker(executors: int) -> Iterator[int]:
    """The pid of a worker all of whose executors have run a program."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with (
            anypod_stack.workers(directory, anypod_stack.pool(1, executors)) as [worker],
            anypod_stack.gateway(directory) as (url, _),
        ):
            run = anypod_stack.create_program(url, SLEEPER)
            body = json.dumps({"inputs": {"seconds": 0.5}}).encode()
            with ThreadPoolExecutor(executors) as threads:
                answered = list(threads.map(lambda _: processes.ask(run, body), range(executors)))
            assert all(status == 200 for status, _ in answered)
            yield worker
