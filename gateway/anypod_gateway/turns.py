"""Who may go on with a session: one call at a time, in the order in which the calls came."""

import asyncio
import heapq
from dataclasses import dataclass, field

from anypod.api.problems import AnyPodError, Problem

WAITING = 100
"""Calls of one session that may wait at this gateway to be sent."""


class TooMany(Exception):
    """So many wait already."""


@dataclass(slots=True, order=True)
class _Waiter:
    order: int
    future: "asyncio.Future[Problem | None]" = field(compare=False)


class Turns:
    def __init__(self) -> None:
        self._waiting: dict[str, list[_Waiter]] = {}
        """Of each key that somebody has the turn of."""

    async def enter(self, key: str, order: int, deadline: float) -> None:
        """Raises TooMany, TimeoutError at the deadline, and what ``fail`` was given. The lowest
        order goes first, so that a call that is sent again keeps its place."""
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = []
            return
        if len(waiting) >= WAITING:
            raise TooMany
        loop = asyncio.get_running_loop()
        waiter = _Waiter(order, loop.create_future())
        heapq.heappush(waiting, waiter)
        timer = loop.call_at(deadline, _expire, waiter.future)
        try:
            problem = await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled():
                self._give_up_turn(key, waiter.future)
            raise
        finally:
            timer.cancel()
            self._remove(key, waiter)
        if problem is not None:
            raise AnyPodError(problem)

    def _give_up_turn(self, key: str, future: "asyncio.Future[Problem | None]") -> None:
        if future.exception() is None and future.result() is None:
            self.leave(key)

    def _remove(self, key: str, waiter: _Waiter) -> None:
        waiting = self._waiting.get(key, [])
        if waiter in waiting:
            waiting.remove(waiter)
            heapq.heapify(waiting)

    def leave(self, key: str) -> None:
        """Whoever had the turn lets the next one go on."""
        waiting = self._waiting[key]
        while waiting:
            waiter = heapq.heappop(waiting)
            if not waiter.future.done():
                waiter.future.set_result(None)
                return
        del self._waiting[key]

    def has_earlier(self, key: str, order: int) -> bool:
        """Somebody waits who came before."""
        return any(w.order < order and not w.future.done() for w in self._waiting[key])

    def fail(self, key: str, problem: Problem) -> None:
        """All that wait get it."""
        for waiter in self._waiting.get(key, []):
            if not waiter.future.done():
                waiter.future.set_result(problem)

    def fail_all(self, problem: Problem) -> None:
        for key in self._waiting:
            self.fail(key, problem)


def _expire(future: "asyncio.Future[Problem | None]") -> None:
    if not future.done():
        future.set_exception(TimeoutError())
