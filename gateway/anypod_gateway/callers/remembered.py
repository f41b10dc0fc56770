"""Answers of somebody who may be slow or away, kept for a short time and in a bounded number.

A yes is taken as it is while it is fresh. Then it is asked for again; only if no answer comes may
the old one do for some time more, so that the calls of known callers go on through an outage. A no
is kept for a moment, apart from the others: who makes up keys cannot drive out the good ones.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

FRESH_SECONDS = 30.0
LONGEST_SECONDS = 300.0
"""For a yes that nobody can confirm."""
NO_SECONDS = 5.0
PATIENCE_SECONDS = 0.5
"""With one who is slow to confirm a yes."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class NoAnswer(Exception):
    """Whoever is asked is away."""


@dataclass(frozen=True, slots=True)
class _Kept(Generic[V]):
    value: V
    since: float


@dataclass(frozen=True, slots=True)
class _Asking(Generic[V]):
    task: "asyncio.Task[V]"
    since: float


class Remembered(Generic[K, V]):
    """Values that are false are a no."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._yes: OrderedDict[K, _Kept[V]] = OrderedDict()
        self._no: OrderedDict[K, _Kept[V]] = OrderedDict()
        self._asking: dict[K, _Asking[V]] = {}

    def __len__(self) -> int:
        return len(self._yes) + len(self._no)

    def knows(self, key: K) -> bool:
        """Whether it was a yes not long ago."""
        kept = self._yes.get(key)
        return kept is not None and _now() - kept.since < LONGEST_SECONDS

    async def get(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        """``ask`` and this raise NoAnswer; or what ``ask`` raises beside."""
        now, kept = _now(), self._yes.get(key)
        if kept is not None and now - kept.since < FRESH_SECONDS:
            self._yes.move_to_end(key)
            return kept.value
        no = self._no.get(key)
        if no is not None and now - no.since < NO_SECONDS:
            return no.value
        asking = self._asking.get(key) or self._ask(key, ask)
        if kept is None or now - kept.since >= LONGEST_SECONDS:
            await asyncio.wait({asking.task})
            return _result(asking.task)
        left = asking.since + PATIENCE_SECONDS - now
        await asyncio.wait({asking.task}, timeout=max(0.0, left))
        if not asking.task.done():
            return kept.value
        try:
            return _result(asking.task)
        except NoAnswer:
            return kept.value

    async def close(self) -> None:
        tasks = [asking.task for asking in self._asking.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ask(self, key: K, ask: Callable[[], Awaitable[V]]) -> _Asking[V]:
        """In a task of its own: who asked first may leave, and others wait for the same answer."""

        async def answer() -> V:
            return await ask()

        def done(task: "asyncio.Task[V]") -> None:
            self._asking.pop(key, None)
            # Its failure is raised where it is waited for, if anybody still does.
            if not task.cancelled() and task.exception() is None:
                self._keep(key, task.result())

        asking = _Asking(asyncio.get_running_loop().create_task(answer()), _now())
        self._asking[key] = asking
        asking.task.add_done_callback(done)
        return asking

    def _keep(self, key: K, value: V) -> None:
        kept, other = (self._yes, self._no) if value else (self._no, self._yes)
        other.pop(key, None)
        kept[key] = _Kept(value, _now())
        kept.move_to_end(key)
        if len(kept) > self._limit:
            kept.popitem(last=False)


def _result(task: "asyncio.Task[V]") -> V:
    if task.cancelled():
        raise NoAnswer("the gateway is stopping")
    return task.result()


def _now() -> float:
    return asyncio.get_running_loop().time()
