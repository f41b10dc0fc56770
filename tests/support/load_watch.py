"""A steady load (``steady_load``) as a test sees it: what its callers were told during one row.

A row is one thing that is done to AnyPod under that load, and what it did to the calls.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import steady_load
from tests.support.figures import Figure
from tests.support.installed import Release
from tests.support.steady_load import PLAIN, READ, SESSION, Sessions, Tick, Trouble
from tests.support.strangers import end_of, start

POD = "load"
PATIENCE = steady_load.TIMEOUT + 60.0
LOOK_SECONDS = 0.5
QUIET_SECONDS = 5.0
"""Before a row, whose slowest answer says what is slow here."""


@dataclass
class Row:
    """Filled when its block has ended."""

    what: str
    began: float
    died: set[str] = field(default_factory=set)
    """Workers that were killed: what ran on them may be lost."""
    answers: Counter[str] = field(default_factory=Counter)
    repeats: Counter[str] = field(default_factory=Counter)
    """By the client library, of calls that may or may not have come to a good end."""
    troubles: list[Trouble] = field(default_factory=list)
    slowest: float = 0.0
    affected: float = 0.0
    """Seconds from its beginning to the end of the last call that failed or was slow."""

    def failures(self, *kinds: str) -> Counter[str]:
        """By type; of calls of these kinds, or of all."""
        return Counter(each.type for each in self.troubles if not kinds or each.kind in kinds)

    def lost_where_nothing_died(self) -> list[Trouble]:
        return [
            each
            for each in self.troubles
            if each.type == "worker-lost" and each.worker not in self.died
        ]

    def line(self) -> str:
        """Of the table in docs/failures.md."""
        failed = [
            f"{kind}: {count} {type_}"
            for kind in (*steady_load.KINDS, READ)
            for type_, count in sorted(self.failures(kind).items())
        ]
        repeated = [
            each.replace(": ", f": {count} ") for each, count in sorted(self.repeats.items())
        ]
        cells = (
            self.what,
            f"{self.affected:.1f} s",
            str(self.answers.total()),
            ", ".join(failed) or "none",
            ", ".join(repeated) or "none",
            f"{self.slowest:.1f} s",
        )
        return f"| {' | '.join(cells)} |"


class LoadWatch:
    """``figure`` takes each row's line; whoever runs one says which."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self.figure: Figure = print

    def start(self, node: str, *, callers: int = steady_load.CALLERS) -> None:
        """On ``node``, so many of each kind; calls go on when this returns."""
        release = self.release
        start(
            release,
            POD,
            Path(steady_load.__file__).read_text(),
            node=node,
            URL=f"http://{release.name}-gateway.{release.namespace}.svc",
            ANYPOD_API_KEY=release.secret(f"{release.name}-api-keys")["admin"],
            CALLERS=str(callers),
        )
        self._wait(lambda: sum(tick.answers.get(SESSION, 0) for tick in self._ticks()) > 50)

    def stop(self) -> Sessions:
        last = json.loads(end_of(self.release, POD)[-1])
        return Sessions(**last["Sessions"])

    @contextmanager
    def row(self, what: str) -> Iterator[Row]:
        """Ends when every call that began in the block has ended."""
        row = Row(what, time.time())
        yield row
        ended = time.time()
        self._wait(lambda: any(tick.oldest > ended for tick in self._ticks(last=3)))
        ticks = self._ticks()
        before = [t for t in ticks if row.began - QUIET_SECONDS < t.at <= row.began]
        usual = max((s for tick in before for s in tick.slowest.values()), default=0.0)
        self._fill(row, [tick for tick in ticks if tick.at > row.began], usual)
        self.figure(row.line())

    def _fill(self, row: Row, ticks: list[Tick], usual: float) -> None:
        slow = max(steady_load.SLOW_SECONDS, 2 * usual)
        for tick in ticks:
            row.answers.update(tick.answers)
            row.troubles += tick.troubles
            row.repeats.update(tick.repeats)
            row.slowest = max(row.slowest, *tick.slowest.values(), 0.0)
            ends = [ended for _, began, ended in tick.slow if ended - began > slow]
            ends += [each.ended for each in tick.troubles]
            row.affected = max(row.affected, *(ended - row.began for ended in ends), 0.0)

    def _ticks(self, last: int = -1) -> list[Tick]:
        lines = self.release.kubectl("logs", POD, f"--tail={last}").splitlines()
        told = [json.loads(line) for line in lines if line.startswith('{"Tick"')]
        return [_tick(each["Tick"]) for each in told]

    def _wait(self, what: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < until, self.release.kubectl("logs", POD, "--tail=5")
            time.sleep(LOOK_SECONDS)


def _tick(raw: dict[str, Any]) -> Tick:
    troubles = [Trouble(**each) for each in raw.pop("troubles")]
    return Tick(**raw, troubles=troubles)


def nothing_failed(row: Row) -> None:
    """Nor was anything that may have begun sent again."""
    assert not row.troubles, row.troubles
    assert {each.partition(": ")[2] for each in row.repeats} <= {"Unreachable"}, row.repeats
    for kind in steady_load.KINDS:
        assert row.answers[kind], row.answers


def only_lost_where_it_died(row: Row, *, besides: set[str] | None = None) -> None:
    """``besides``: types of failures of plain calls and of sessions that this row may have."""
    assert not row.failures(steady_load.IDEMPOTENT), row.troubles
    assert not row.failures(READ), row.troubles
    assert set(row.failures(PLAIN, SESSION)) <= {"worker-lost", *(besides or ())}, row.troubles
    assert not row.lost_where_nothing_died(), (row.died, row.troubles)
