"""How much of a pool its batches may take: about what its workers run at once, all together.

Whatever else calls the pool then waits behind a few items at most, however many batches there are,
and its queue is never full of them. Batches take their turns one by one, so that each goes on.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SPARE = 2
"""Items beyond that: they wait in the pool's queue, so that no executor waits for its next one."""


class Share:
    """A context for each item that is under way."""

    def __init__(self, capacity: Callable[[], int]) -> None:
        self._capacity = capacity
        self._taken = 0
        self._refused = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def size(self) -> int:
        return self._capacity() + SPARE

    async def __aenter__(self) -> None:
        if self._has_room() and not self._waiting:
            self._taken += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._leave()

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

    def _has_room(self) -> bool:
        return not self._refused and self._taken < self.size()

    def _leave(self) -> None:
        self._taken -= 1
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._has_room():
            turn = self._waiting.popleft()
            if not turn.done():
                self._taken += 1
                turn.set_result(None)
