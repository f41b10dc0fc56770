"""A bound on what is done at once, and on who waits for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class LaneFull(Exception):
    """So many wait already that another one is turned away."""


class Lane:
    def __init__(self, at_once: int, waiting: int) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._places = at_once + waiting

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Raises LaneFull."""
        if not self._places:
            raise LaneFull
        self._places -= 1
        try:
            async with self._slots:
                yield
        finally:
            self._places += 1
