"""What an executor costs: the time until a dead one is replaced, and the memory of one more."""

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import anypod_stack, goals, load, processes
from benchmarks.goals import Measured

FEW = 1
MANY = 9
NAME = "anypod-executor"


def measure(*, rounds: int) -> list[Measured]:
    replaced = tuple(_replacements(rounds))
    memory = tuple(_one_more() for _ in range(min(rounds, 3)))
    return [
        Measured(goals.REPLACED, load.median(replaced), replaced),
        Measured(goals.MEMORY, load.median(memory), memory),
    ]


@contextmanager
def _one_worker(executors: int) -> Iterator[tuple[int, str]]:
    """Its pid, and its URL."""
    with tempfile.TemporaryDirectory() as name:
        directory, port = Path(name), processes.free_port()
        (directory / "token").write_text("benchmark")
        given = anypod_stack.pool(1, executors)
        with anypod_stack.worker(directory, "w1", given, port) as pid:
            yield pid, f"http://127.0.0.1:{port}"


def _executors(worker: int) -> set[int]:
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
    line = next(
        x for x in text.decode().splitlines() if x.startswith("anypod_worker_executors_idle")
    )
    return int(line.split()[1])


def _replacements(rounds: int) -> Iterator[float]:
    """Milliseconds from the kill to as many executors as before, all of them warm.

    A worker keeps one warm in reserve, so a call does not even wait that long.
    """
    count = 2
    with _one_worker(count) as (worker, url):
        for _ in range(max(5, rounds)):
            processes.wait_for("a spare", lambda: len(_executors(worker)) > count)
            before = _executors(worker)
            victim = min(before)
            began = time.perf_counter()
            os.kill(victim, signal.SIGKILL)

            def whole(victim: int = victim, wanted: int = len(before)) -> bool:
                now = _executors(worker)
                return victim not in now and len(now) >= wanted and _idle(url) == count

            processes.wait_for("the replacement", whole)
            yield (time.perf_counter() - began) * 1000
            time.sleep(0.2)


def _one_more() -> float:
    """MiB that one more executor adds to the worker's whole, after each has run nothing yet."""
    sizes = {}
    for count in (FEW, MANY):
        with _one_worker(count) as (worker, _):
            time.sleep(0.5)
            sizes[count] = sum(processes.pss(pid) for pid in processes.tree(worker))
    return (sizes[MANY] - sizes[FEW]) / (MANY - FEW) / 2**20
