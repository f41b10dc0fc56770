"""Each goal of DSPy programs, measured."""

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import executors, goals, load, processes
from benchmarks.dspy import rivals, runs
from benchmarks.dspy.rivals import Rival
from benchmarks.goals import Measured

MOMENT, LONG = rivals.MILLISECONDS
SETTLE_SECONDS = 1.0
"""For an executor to be warm, which nothing says."""

Samples = dict[str, dict[str, tuple[float, ...]]]
"""By rival and figure, one value per round."""


def against_fastapi(
    console: Console, api_base: str, *, rounds: int, count: int, many: int
) -> tuple[list[Measured], Samples]:
    """The rivals in turn, in each round."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with (
            rivals.anypod(directory, api_base) as ours,
            rivals.fastapi(directory, api_base) as theirs,
        ):
            ours.prove()
            theirs.prove()
            over: dict[str, list[float]] = {ours.name: [], theirs.name: []}
            ended: dict[str, list[float]] = {ours.name: [], theirs.name: []}
            for _ in range(rounds):
                for rival in (ours, theirs):
                    taken = asyncio.run(runs.overheads(rival, MOMENT, count))
                    over[rival.name].append(load.median(taken))
                    ended[rival.name].append(asyncio.run(runs.at_once(rival, LONG, many)))
    console.print(_table(over, ended, many))
    results = [
        Measured(goals.OVERHEAD, load.median(over[ours.name]), tuple(over[ours.name])),
        Measured(goals.MANY_ASKED, load.median(ended[ours.name]), tuple(ended[ours.name])),
    ]
    samples = {
        rival: {"overhead_ms": tuple(over[rival]), "at_once_seconds": tuple(ended[rival])}
        for rival in over
    }
    return results, samples


def first_runs(api_base: str, *, rounds: int) -> Measured:
    """Of executors that have run nothing, as one that has just taken a dead one's place."""
    with (
        tempfile.TemporaryDirectory() as name,
        rivals.anypod(Path(name), api_base, executors=1) as ours,
    ):
        taken = tuple(_first_run(ours) for _ in range(rounds))
    return Measured(goals.FIRST_ASKED, load.median(taken), taken)


def _first_run(ours: Rival) -> float:
    asyncio.run(runs.overheads(ours, MOMENT, 1))  # so that the worker has the program
    before = executors.of_worker(ours.pid)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    processes.wait_for(
        "new executors", lambda: len(executors.of_worker(ours.pid) - before) == len(before)
    )
    time.sleep(SETTLE_SECONDS)
    [taken] = asyncio.run(runs.overheads(ours, MOMENT, 1))
    return taken


def memory(api_base: str, *, rounds: int) -> Measured:
    @contextmanager
    def used_worker(count: int) -> Iterator[int]:
        with (
            tempfile.TemporaryDirectory() as name,
            rivals.anypod(Path(name), api_base, executors=count, concurrency=1) as ours,
        ):
            asyncio.run(runs.at_once(ours, LONG, count))
            yield ours.pid

    sizes = tuple(executors.one_more(used_worker) for _ in range(rounds))
    return Measured(goals.MEMORY_DSPY, load.median(sizes), sizes)


def _table(over: dict[str, list[float]], ended: dict[str, list[float]], many: int) -> Table:
    table = Table(title="DSPy programs", title_justify="left")
    table.add_column("server")
    table.add_column("one at a time, over the LM's own time", justify="right")
    table.add_column(f"{many} at once, LM answers in {LONG / 1000:g} s", justify="right")
    for name, taken in over.items():
        table.add_row(name, f"{load.median(taken):.1f} ms", f"{load.median(ended[name]):.1f} s")
    return table
