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
    def __init__(self, capacity: Callable[[], int]) -> None:
        self._capacity = capacity
        self._taken = 0
        """Parts."""
        self._refused = 0
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    def items(self, concurrency: int = 1) -> int:
        """Of a program of which so many share an executor: how many may be under way."""
        return (self._capacity() + SPARE) * concurrency

    @asynccontextmanager
    async def place(self, concurrency: int = 1) -> AsyncIterator[None]:
        """For an item that is under way."""
        parts = max(1, _PARTS // concurrency)
        await self._enter(parts)
        try:
            yield
        finally:
            self._leave(parts)

    async def _enter(self, parts: int) -> None:
        if not self._waiting and self._has_room(parts):
            self._taken += parts
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, parts))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave(parts)
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

    def _has_room(self, parts: int) -> bool:
        return not self._refused and self._taken + parts <= self.items() * _PARTS

    def _leave(self, parts: int) -> None:
        self._taken -= parts
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._has_room(self._waiting[0][1]):
            turn, parts = self._waiting.popleft()
            if not turn.done():
                self._taken += parts
                turn.set_result(None)
