"""Whether a gateway is starting, serving or going, and what is still under way in it."""

import asyncio
import contextlib
from collections.abc import Iterator


class Lifecycle:
    def __init__(self) -> None:
        self.draining = False
        """No new work is wanted; what runs is finished."""
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._active = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._fault: str | None = None

    def begin(self) -> None:
        self._active += 1
        self._idle.clear()

    def end(self) -> None:
        self._active -= 1
        if not self._active:
            self._idle.set()

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Something is under way that no request waits for."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    def stop(self) -> None:
        """Said again, it ends ``linger``."""
        if self.draining:
            self._hurry.set()
        self.draining = True
        self._stop.set()

    def fail(self, reason: str) -> None:
        """Something without which the gateway is no use has ended; the first reason stays."""
        self._fault = self._fault or reason
        self.stop()

    async def stopped(self) -> str | None:
        """Waits for ``stop`` or ``fail``; what went wrong, if that is why."""
        await self._stop.wait()
        return self._fault

    async def linger(self, seconds: float) -> None:
        """Waits, for those who do not know yet that this gateway goes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    async def idle(self, seconds: float) -> bool:
        """Waits until no request is under way; False when some are after ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
