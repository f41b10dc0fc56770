"""Where the inputs of a batch come from: any iterable, asked for one after another.

What it is at survives the connection that wanted it: an iterator that is cancelled in the middle
of a step would be no more.
"""

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_END: Any = object()


class Source(Generic[T]):
    """An async iterator over either kind."""

    def __init__(self, items: AsyncIterable[T] | Iterable[T]) -> None:
        self._blocking: Iterator[T] | None = None
        if isinstance(items, AsyncIterable):
            self._awaiting: AsyncIterator[T] = aiter(items)
        else:
            self._blocking = iter(items)
        self._step: asyncio.Task[T] | None = None

    async def __anext__(self) -> T:
        found = await self._next() if self._blocking is None else next(self._blocking, _END)
        if found is _END:
            raise StopAsyncIteration
        return found

    async def _next(self) -> T:
        if self._step is None:
            self._step = asyncio.ensure_future(self._advance())
        await asyncio.wait({self._step})
        step, self._step = self._step, None
        return step.result()

    async def _advance(self) -> T:
        return await anext(self._awaiting, _END)

    async def close(self) -> None:
        if self._step is not None:
            self._step.cancel()
            await asyncio.wait({self._step})


class Elsewhere(Generic[T]):
    """A blocking iterator that is run in a thread of its own, for a loop that must not wait.

    Nobody waits for the thread: it may be in a read that never ends.
    """

    def __init__(self, items: Iterable[T]) -> None:
        self._items = items
        self._asked: SimpleQueue[asyncio.Future[T] | None] = SimpleQueue()
        threading.Thread(target=self._run, name="anypod-inputs", daemon=True).start()

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        told: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._asked.put(told)
        found = await told
        if found is _END:
            raise StopAsyncIteration
        return found

    def close(self) -> None:
        self._asked.put(None)

    def _run(self) -> None:
        items: Iterator[T] | None = None
        while (told := self._asked.get()) is not None:
            try:
                items = iter(self._items) if items is None else items
                found, wrong = next(items, _END), None
            except Exception as raised:  # noqa: BLE001 - it is raised where the item is asked for
                found, wrong = _END, raised
            try:
                told.get_loop().call_soon_threadsafe(_tell, told, found, wrong)
            except RuntimeError:  # the loop has ended meanwhile
                return


def _tell(told: "asyncio.Future[T]", found: T, wrong: Exception | None) -> None:
    if told.done():
        return
    if wrong is not None:
        told.set_exception(wrong)
    else:
        told.set_result(found)
