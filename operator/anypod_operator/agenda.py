"""Which pools to look at, and when: each key once, never two looks at one key at a time.

Triggers only add keys; whatever they were, the look is the same. A failed look is repeated later
and later; a key that is added all the time is looked at every now and then.
"""

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

AT_ONCE = 8
PAUSE = 0.2
"""Between two looks at one key; what happens in between is seen by the next."""
MANY = 30
"""Looks at one key within a minute, from which on the pause is a long one. In the long run a loop
looks no more often; and a pool whose many workers start slowly is not told late to be Ready."""
LONG_PAUSE = 2.0
_MINUTE = 60.0
FIRST_RETRY, LONGEST_RETRY = 0.5, 60.0


class Agenda(Generic[Key]):
    def __init__(self, look: Callable[[Key], Awaitable[float | None]]) -> None:
        """``look`` says after how many seconds to look again without a trigger; None: never. What
        it raises is its failure; it has told about it."""
        self._look = look
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._number = 0
        self._running: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._recent: dict[Key, deque[float]] = {}
        """When looks at it ended; the key whose last look is the oldest comes first."""
        self._wake = asyncio.Event()

    def add(self, key: Key, after: float = 0.0) -> None:
        """Look at it soon, or when it is said already if that is sooner."""
        now = self._now()
        recent = self._recent.get(key)
        earliest = recent[-1] + self._pause(recent, now) if recent else 0.0
        due = max(now + after, earliest)
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            self._number += 1
            heapq.heappush(self._heap, (due, self._number, key))
            self._wake.set()

    def waiting(self) -> int:
        """Keys that are due."""
        now = self._now()
        return sum(due <= now for due in self._due.values())

    def overdue(self) -> float:
        """Seconds for which the oldest due key has waited."""
        now = self._now()
        return max((now - due for due in self._due.values()), default=0.0)

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                for key in self._take():
                    self._running.add(key)
                    tasks.create_task(self._one(key), name=f"look at {key}")
                await self._until_due()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _pause(self, recent: deque[float], now: float) -> float:
        often = len(recent) == MANY and now - recent[0] < _MINUTE
        return LONG_PAUSE if often else PAUSE

    def _take(self) -> list[Key]:
        """What is due and may run now. What is due and runs already stays due."""
        taken: list[Key] = []
        blocked: list[tuple[float, int, Key]] = []
        now = self._now()
        while self._heap and self._heap[0][0] <= now and len(self._running) + len(taken) < AT_ONCE:
            entry = heapq.heappop(self._heap)
            due, _, key = entry
            if self._due.get(key) != due:
                continue  # it was taken, or brought forward, by another entry
            if key in self._running:
                blocked.append(entry)
            else:
                del self._due[key]
                taken.append(key)
        for entry in blocked:
            heapq.heappush(self._heap, entry)
        return taken

    async def _until_due(self) -> None:
        """Or until something has changed, such as a look that is over."""
        free = [due for key, due in self._due.items() if key not in self._running]
        full = len(self._running) >= AT_ONCE
        wait = None if full or not free else max(0.0, min(free) - self._now())
        try:
            async with asyncio.timeout(wait):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _one(self, key: Key) -> None:
        try:
            again = await self._look(key)
        except Exception as failure:  # noqa: BLE001 - the look has told; a failure is tried again
            self._finished(key)
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            asked = float(getattr(failure, "retry_after", 0.0))
            self.add(key, max(asked, _backoff(failures)))
        else:
            self._finished(key)
            self._failures.pop(key, None)
            if again is not None:
                self.add(key, again)
        finally:
            self._wake.set()

    def _finished(self, key: Key) -> None:
        self._running.discard(key)
        now = self._now()
        recent = self._recent.pop(key, None) or deque(maxlen=MANY)
        recent.append(now)
        self._recent[key] = recent
        while now - self._recent[oldest := next(iter(self._recent))][-1] > _MINUTE:
            del self._recent[oldest]


def _backoff(failures: int) -> float:
    """Twice as long each time, and never the same for all that failed together."""
    longest = min(LONGEST_RETRY, FIRST_RETRY * 2.0 ** min(failures - 1, 20))
    return longest * random.uniform(0.75, 1.0)  # noqa: S311 - no secret
