"""One watch per pool and gateway, and the rule by which what it brings may be served.

A view (of programs, of sessions) is current for a request if a read of the pool's ``changes`` that
began at most WINDOW before the request came has returned, and the watch has delivered that
version. A writer waits for SETTLE, which is longer, between its commit and its answer
(``confirm``). So whoever has seen the answer of a write finds every gateway past it. Both are
intervals by one machine's clock; clocks are not compared. Where the store has a stamp, and it is
still the one before what was last delivered, nothing was written since, and nothing need be read.

When the store has been silent for a while, nobody can have written, and the views are served as
they are (AWAY). Silence is counted in turns of a loop that is alive: a stall of this process is
not a silence of the store.
"""

import asyncio
import enum
import logging
import time
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from anypod.store.keys import PoolKeys
from anypod.store.kv import Change, Entry, KeyValue, Reset, StoreUnavailable, Synced
from anypod.store.outage import Outage

log = logging.getLogger(__name__)

WINDOW_SECONDS = 0.04
_REFRESH_SECONDS = 0.03
"""Under load the next read begins before the last one is too old, so that nobody waits for it."""

SETTLE_SECONDS = 0.05
SETTLE_AFTER_OUTAGE_SECONDS = 1.0
"""Other gateways may need that long to find that the store is back."""

_SHAKEN_SECONDS = 5.0
_HEARTBEAT_SECONDS = 1.0
_TURN_SECONDS = 0.1
_TURNS_SHAKEN = 4
_TURNS_AWAY = 20
_TURNS_LAGGING = 3


class Freshness(enum.Enum):
    FRESH = "fresh"
    """The views have every write that was answered before the question."""
    LAGGING = "lagging"
    """The store answers, but the watch is behind: ask the store itself."""
    AWAY = "away"
    """The store does not answer; the views are the last that was known."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """How far a watch is."""

    silent_seconds: float
    """Since the store last answered; infinite before it first did."""
    changes: int
    """The last version of the pool's ``changes`` that was heard of."""
    delivered: int
    """The views have all that was written up to this version."""


class View(Protocol):
    """What a watch keeps up to date. Neither method may wait; an exception ends the watch."""

    def reset(self, entries: Iterable[Entry]) -> None: ...

    def change(self, change: Change) -> None: ...


class PoolWatch:
    """Add the views, then keep ``run`` running: it returns only by an exception."""

    def __init__(self, store: KeyValue, keys: PoolKeys, called: str = "") -> None:
        """``called``: the pool as callers name it, if that is not its own name."""
        self._store = store
        self._keys = keys
        self._views: list[tuple[str, View]] = []
        self._delivered = 0
        self._stamp: int | None = None
        """Before what was last delivered was read."""
        self._known = 0
        self._known_since = float("-inf")
        self._changes = 0
        self._answered_at = float("-inf")
        self._recovered_at = float("-inf")
        self._unanswered = 0
        self._wanted = asyncio.Event()
        self._wanted.set()  # so that it is soon known that the store answers
        self._news = asyncio.Event()
        self._outage = Outage(log, f"store of pool {called or keys.pool}")
        self.synced = asyncio.Event()
        """Set once the views hold what is in the store."""

    @property
    def away(self) -> bool:
        return self._unanswered >= _TURNS_AWAY

    def knowledge(self) -> Knowledge:
        silent = time.monotonic() - self._answered_at
        return Knowledge(silent, self._changes, self._delivered)

    def add(self, prefix: str, view: View) -> None:
        """The view gets the keys that begin with ``prefix``."""
        self._views.append((prefix, view))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._keep_asking())

    async def current(self) -> Freshness:
        """What the views are worth for a request that has come before this call."""
        if self._is_unwritten():
            return Freshness.FRESH
        came = time.monotonic()
        needed: int | None = None
        turns = 0
        while True:
            if needed is None and self._known_since >= came - WINDOW_SECONDS:
                needed, turns = self._known, 0
                if self._known_since < came - _REFRESH_SECONDS:
                    self._wanted.set()
            if needed is not None and self.synced.is_set() and self._delivered >= needed:
                return Freshness.FRESH
            if needed is None and (self.away or turns >= _TURNS_AWAY):
                return Freshness.AWAY
            if needed is not None and turns >= _TURNS_LAGGING:
                return Freshness.LAGGING
            if needed is None:
                self._wanted.set()
            turns += 0 if await _happens(self._news) else 1

    def _is_unwritten(self) -> bool:
        """Since what was last delivered was read."""
        return self._stamp is not None and self._stamp == self._store.stamp()

    async def confirm(self) -> None:
        """Wait, after a commit, until no gateway serves what was before it."""
        settle = SETTLE_AFTER_OUTAGE_SECONDS if self._shaken() else SETTLE_SECONDS
        begun = time.monotonic()
        await asyncio.sleep(settle)
        # A loop may count from a clock that it read some time ago, and end early by that.
        while (left := begun + settle - time.monotonic()) > 0:  # noqa: ASYNC110 - no event comes
            await asyncio.sleep(left)

    def _shaken(self) -> bool:
        recent = time.monotonic() - self._recovered_at < _SHAKEN_SECONDS
        return recent or self._unanswered >= _TURNS_SHAKEN

    async def _follow(self) -> None:
        async with aclosing(self._store.watch(self._keys.watched)) as events:
            async for event in events:
                match event:
                    case Change():
                        self._change(event)
                    case Reset():
                        self._reset(event)
                    case Synced():
                        self._deliver(event)
        raise StoreUnavailable("the watch of the store has ended")

    def _reset(self, event: Reset) -> None:
        for prefix, view in self._views:
            view.reset([entry for entry in event.entries if entry.key.startswith(prefix)])
        changes = [entry.version for entry in event.entries if entry.key == self._keys.changes]
        self._changes = max(changes, default=0)
        self.synced.set()
        self._deliver(event)

    def _change(self, change: Change) -> None:
        if change.key == self._keys.changes:
            self._changes = max(self._changes, change.version)
        for prefix, view in self._views:
            if change.key.startswith(prefix):
                view.change(change)

    def _deliver(self, event: Reset | Synced) -> None:
        self._delivered, self._stamp = event.revision, event.stamp
        if event.revision >= self._known:
            self._tell()

    async def _keep_asking(self) -> None:
        while True:
            await _happens(self._wanted, _HEARTBEAT_SECONDS)
            self._wanted.clear()
            await self._ask()

    async def _ask(self) -> None:
        """Read ``changes``, as often as it takes to get an answer."""
        while True:
            begun = time.monotonic()
            asking = asyncio.ensure_future(self._store.get(self._keys.changes))
            try:
                while not asking.done():
                    await asyncio.wait({asking}, timeout=_TURN_SECONDS)
                    if not asking.done():
                        self._unanswered_turn("does not answer")
                entry = asking.result()
            except StoreUnavailable as error:
                self._unanswered_turn(error)
                await asyncio.sleep(_TURN_SECONDS)
            else:
                self._answer(begun, entry.version if entry is not None else 0)
                return
            finally:
                asking.cancel()

    def _answer(self, begun: float, version: int) -> None:
        now = time.monotonic()
        if self._unanswered >= _TURNS_SHAKEN:
            self._recovered_at = now
        self._outage.over()
        self._unanswered = 0
        self._answered_at = now
        self._known_since, self._known = begun, version
        self._changes = max(self._changes, version)
        self._tell()

    def _unanswered_turn(self, reason: object) -> None:
        self._unanswered += 1
        if self._unanswered == _TURNS_AWAY:
            self._outage.failed(f"{reason}; what is known is served as it is")
            self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


async def _happens(event: asyncio.Event, seconds: float = _TURN_SECONDS) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
