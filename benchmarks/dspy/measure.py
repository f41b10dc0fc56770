"""Each goal of DSPy programs, measured."""

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import executors, goals, load, processes
from benchmarks.dspy import rivals, runs
from benchmarks.dspy.rivals import Rival
from benchmarks.goals import Goal, Measured

MOMENT, LONG = rivals.MILLISECONDS
SETTLE_SECONDS = 1.0
"""For an executor to be warm, which nothing says."""
DIRECTLY = 5
"""How often the LM is asked beside one run, to know what it takes itself."""

Samples = dict[str, dict[str, tuple[float, ...]]]
"""By rival and figure, one value per round."""


@dataclass(slots=True)
class _Taken:
    """Of one rival, one value per round."""

    run: list[float] = field(default_factory=list)
    """Milliseconds."""
    beyond: list[float] = field(default_factory=list)
    """Of these, what asking the LM directly does not take."""
    at_once: list[float] = field(default_factory=list)
    """Seconds."""


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
            asked = rivals.direct(api_base, MOMENT)
            taken = {rival.name: _Taken() for rival in (ours, theirs)}
            own: list[float] = []
            for _ in range(rounds):
                in_turn = asyncio.run(runs.in_turn((asked, ours, theirs), MOMENT, count))
                lm, *of_rivals = map(load.median, in_turn)
                own.append(lm)
                for rival, run in zip((ours, theirs), of_rivals, strict=True):
                    found = taken[rival.name]
                    found.run.append(run)
                    found.beyond.append(run - lm)
                    found.at_once.append(asyncio.run(runs.at_once(rival, LONG, many)))
    console.print(_table(taken, own, many))
    results = [
        _measured(goals.OVERHEAD, taken[ours.name].beyond),
        _measured(goals.MANY_ASKED, taken[ours.name].at_once),
    ]
    samples = {
        name: {"overhead_ms": tuple(found.beyond), "at_once_seconds": tuple(found.at_once)}
        for name, found in taken.items()
    }
    return results, samples


def _measured(goal: Goal, values: list[float]) -> Measured:
    return Measured(goal, load.median(values), tuple(values))


def first_runs(api_base: str, *, rounds: int) -> Measured:
    """Of executors that have run nothing, as one that has just taken a dead one's place."""
    with (
        tempfile.TemporaryDirectory() as name,
        rivals.anypod(Path(name), api_base, executors=1) as ours,
    ):
        ours.prove()  # so that the worker has the program
        asked = rivals.direct(api_base, MOMENT)
        return _measured(goals.FIRST_ASKED, [_first_run(ours, asked) for _ in range(rounds)])


def _first_run(ours: Rival, asked: Rival) -> float:
    before = executors.of_worker(ours.pid)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    processes.wait_for(
        "new executors", lambda: len(executors.of_worker(ours.pid) - before) == len(before)
    )
    time.sleep(SETTLE_SECONDS)
    [[taken]] = asyncio.run(runs.in_turn((ours,), MOMENT, 1))
    [own] = asyncio.run(runs.in_turn((asked,), MOMENT, DIRECTLY))
    return taken - load.median(own)


def memory(api_base: str, *, rounds: int, quick: bool) -> Measured:
    @contextmanager
    def used_worker(count: int) -> Iterator[int]:
        with (
            tempfile.TemporaryDirectory() as name,
            rivals.anypod(Path(name), api_base, executors=count, concurrency=1) as ours,
        ):
            asyncio.run(runs.at_once(ours, LONG, count))
            yield ours.pid

    sizes = tuple(executors.one_more(used_worker, quick=quick) for _ in range(rounds))
    return Measured(goals.MEMORY_DSPY, load.median(sizes), sizes)


def _table(taken: dict[str, _Taken], own: list[float], many: int) -> Table:
    table = Table(title="DSPy programs", title_justify="left")
    table.add_column("server")
    table.add_column(f"one at a time, the LM thinks for {MOMENT} ms", justify="right")
    table.add_column("the LM asked directly", justify="right")
    table.add_column("over the LM's own time", justify="right")
    table.add_column(f"{many} at once, LM answers in {LONG / 1000:g} s", justify="right")
    for name, found in taken.items():
        milliseconds = [load.median(each) for each in (found.run, own, found.beyond)]
        told = [f"{value:.1f} ms" for value in milliseconds]
        table.add_row(name, *told, f"{load.median(found.at_once):.1f} s")
    return table
