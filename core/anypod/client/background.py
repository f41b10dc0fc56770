"""A batch for the client that blocks: one that awaits, in a thread of its own.

Sending while the answer comes takes two at once, and that is what a loop is for.
"""

import asyncio
import threading
from collections.abc import Coroutine, Generator, Iterable
from typing import Any, TypeVar

from anypod.client.batches import Batch, Inputs, Item, wanted
from anypod.client.calls import Call
from anypod.client.http_async import Transport
from anypod.client.settings import Settings
from anypod.client.sources import Elsewhere

T = TypeVar("T")

CLOSE_SECONDS = 10.0


class Loop:
    """Runs until it is closed; then whatever still runs on it is cancelled."""

    def __init__(self) -> None:
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, name="anypod-batch", daemon=True)
        self._thread.start()
        self._begun.wait()

    def _run(self) -> None:
        asyncio.run(self._live())

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self._begun.set()
        await self._end.wait()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # of an interrupt: nobody waits for it any more
            future.cancel()
            raise

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(CLOSE_SECONDS)


class Background:
    """The batch, on such a loop."""

    def __init__(
        self,
        settings: Settings,
        call: Call[None],
        inputs: Elsewhere[Inputs],
        return_exceptions: bool,
    ) -> None:
        self._transport = Transport(settings)
        batch = Batch(self._transport, call, inputs)
        self._items = wanted(batch.items(), return_exceptions=return_exceptions)
        self._step: asyncio.Task[Any] | None = None

    async def next(self) -> Item | None:
        self._step = asyncio.current_task()
        return await anext(self._items, None)

    async def close(self) -> None:
        """Whoever was interrupted has perhaps not told the step that it is at."""
        if self._step is not None:
            self._step.cancel()
            await asyncio.wait({self._step})
        await self._items.aclose()
        await self._transport.close()


def items(
    settings: Settings, call: Call[None], inputs: Iterable[Inputs], *, return_exceptions: bool
) -> Generator[Item, None, None]:
    """Closing the iterator ends the batch."""

    async def begin() -> Background:
        return Background(settings, call, source, return_exceptions)

    loop, source = Loop(), Elsewhere(inputs)
    try:
        batch = loop.call(begin())
        try:
            while (item := loop.call(batch.next())) is not None:
                yield item
        finally:
            loop.call(batch.close())
    finally:
        source.close()
        loop.close()
