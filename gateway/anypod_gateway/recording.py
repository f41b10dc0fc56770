"""What a stream has said: kept to be told again, and read by the one who is there.

The reader's pace is the program's while there is one. Nobody waits for a reader who has left.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Self

MOST_KEPT = 700 * 1024
"""Bytes; as JSON in a record they mostly stay under what the store takes."""
_AHEAD = 256 * 1024


class Recording:
    """A context, for as long as something is said."""

    def __init__(self) -> None:
        self.is_told = False
        """The reader has been promised a stream."""
        self._kept: list[bytes] | None = []
        self._size = 0
        self._unread: deque[bytes] = deque()
        self._ahead = 0
        self._left = False
        self._ended = False
        self._begun = asyncio.Event()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def __enter__(self) -> Self:
        self._begun.set()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._news.set()

    async def add(self, frame: bytes) -> None:
        """Waits until the reader is not too far behind."""
        self._size += len(frame)
        if self._size > MOST_KEPT:
            self._kept = None
        if self._kept is not None:
            self._kept.append(frame)
        if self._left:
            return
        self._unread.append(frame)
        self._ahead += len(frame)
        self._news.set()
        if self._ahead > _AHEAD:
            self._room.clear()
            await self._room.wait()

    def kept(self) -> str | None:
        """All of it; None when that is too much to keep."""
        return None if self._kept is None else b"".join(self._kept).decode()

    # the reader

    async def begins(self, otherwise: "asyncio.Future[Any]", seconds: float) -> bool:
        """Whether there is something to read, or nothing has gone wrong for that long; False once
        ``otherwise`` says all there is."""
        if await _first(self._begun, otherwise, None):
            await _first(self._news, otherwise, seconds)
        self.is_told = bool(self._unread) or (self._begun.is_set() and not self._ended)
        return self.is_told

    async def frames(self) -> AsyncIterator[bytes]:
        while True:
            while self._unread:
                frame = self._unread.popleft()
                self._ahead -= len(frame)
                yield frame
            self._room.set()
            if self._ended:
                return
            self._news.clear()
            await self._news.wait()

    def leave(self) -> None:
        """The reader has gone."""
        self._left = True
        self._unread.clear()
        self._room.set()


async def _first(
    event: asyncio.Event, otherwise: "asyncio.Future[Any]", seconds: float | None
) -> bool:
    """Whether the event happened before the other thing did, or the time was over."""
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait(
            {waiting, otherwise}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        waiting.cancel()
    return event.is_set()
