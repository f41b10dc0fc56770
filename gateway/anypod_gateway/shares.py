"""How much of a pool its batches may take: about what its workers run at once, all together.

Whatever else calls the pool then waits behind a few items at most, however many batches there are,
and its queue is never full of them. Batches take their turns one by one, so that each goes on.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

SPARE = 2
"""Items beyond that: they wait in the pool's queue, so that no executor waits for its next one."""
_PARTS = 1000
"""Of an executor: items of a program that waits take fewer than all."""


class Share:
    def __init__(self, capacity: Callable[[int], int]) -> None:
        """``capacity``: executions that the pool runs at once, of a program of which so many share
        an executor."""
        self._capacity = capacity
        self._taken = 0
        """Parts."""
        self._refused = 0
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        """Each with the concurrency of its program."""

    def items(self, concurrency: int = 1) -> int:
        """Of a program of which so many share an executor: how many may be under way."""
        return self._capacity(concurrency) + SPARE

    @asynccontextmanager
    async def place(self, concurrency: int = 1) -> AsyncIterator[None]:
        """For an item that is under way."""
        await self._enter(concurrency)
        try:
            yield
        finally:
            self._leave(concurrency)

    async def _enter(self, concurrency: int) -> None:
        if not self._waiting and self._has_room(concurrency):
            self._taken += _parts(concurrency)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, concurrency))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave(concurrency)
            raise

    @contextmanager
    def refused(self) -> Iterator[None]:
        """For one that the pool had no room for, and that will try again: nobody else is let in
        before it."""
        self._refused += 1
        try:
            yield
        finally:
            self._refused -= 1
            self._let_in()

    def _has_room(self, concurrency: int) -> bool:
        parts = _parts(concurrency)
        return not self._refused and self._taken + parts <= self.items(concurrency) * parts

    def _leave(self, concurrency: int) -> None:
        self._taken -= _parts(concurrency)
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._has_room(self._waiting[0][1]):
            turn, concurrency = self._waiting.popleft()
            if not turn.done():
                self._taken += _parts(concurrency)
                turn.set_result(None)


def _parts(concurrency: int) -> int:
    return max(1, _PARTS // concurrency)
