"""The answers of a batch on their way to its reader, and how far the batch may be ahead of it.

The reader's pace is the batch's: what nobody has read yet is bounded in number and in bytes, and
while it is too much no more lines are taken.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable

MOST_ANSWERS = 1000
MOST_BYTES = 1024 * 1024
"""Of answers that are there and not read; what was under way before comes on top."""
WRITE_BYTES = 64 * 1024
"""As much is written at once."""


class Outlet:
    def __init__(self, *, ordered: bool, at_once: Callable[[], int]) -> None:
        """``at_once``: items that may be under way."""
        self._ordered = ordered
        self._at_once = at_once
        self._entered = 0
        self._under_way = 0
        self._ready: dict[int, bytes] = {}
        """By turn; as they came."""
        self._bytes = 0
        self._next = 0
        self._ended = False
        self._room = asyncio.Event()
        self._news = asyncio.Event()

    async def room(self) -> None:
        """Waits until one more item may be taken."""
        while not self._has_room():
            self._room.clear()
            await self._room.wait()

    def _has_room(self) -> bool:
        return (
            self._under_way < self._at_once()
            and len(self._ready) < MOST_ANSWERS
            and self._bytes < MOST_BYTES
        )

    def enter(self) -> int:
        """The turn of an item that is begun."""
        self._under_way += 1
        self._entered += 1
        return self._entered - 1

    def put(self, turn: int, answer: bytes) -> None:
        self._under_way -= 1
        self._ready[turn] = answer
        self._bytes += len(answer)
        self._room.set()
        self._news.set()

    def end(self) -> None:
        """There are no more items."""
        self._ended = True
        self._news.set()

    async def pieces(self, idle_seconds: float) -> AsyncGenerator[bytes]:
        """What may be written now, until all is; a blank line when nothing came for that long."""
        while True:
            while piece := self._take():
                yield piece
            if self._ended and not self._under_way:
                return
            self._news.clear()
            try:
                async with asyncio.timeout(idle_seconds):
                    await self._news.wait()
            except TimeoutError:
                yield b"\n"

    def _take(self) -> bytes:
        taken: list[bytes] = []
        size = 0
        while size < WRITE_BYTES and (turn := self._due()) is not None:
            answer = self._ready.pop(turn)
            taken.append(answer)
            size += len(answer)
            self._next = turn + 1
        self._bytes -= size
        self._room.set()
        return b"".join(taken)

    def _due(self) -> int | None:
        if not self._ordered:
            return next(iter(self._ready), None)
        return self._next if self._next in self._ready else None
