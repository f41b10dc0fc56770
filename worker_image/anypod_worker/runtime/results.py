"""From what an entry function returned to the outputs: awaited, iterated, encoded.

A value can be a coroutine that gives a generator that must be iterated; whatever it is in the end
becomes JSON, one value, or one by one.
"""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, closing
from typing import Any

from anypod.session import Session
from anypod_worker.runtime import interrupts, loops, outputs

_NULL = b"null"
_DONE = frozenset({dict, list, tuple, str, int, float, bool, bytes, type(None)})
"""Types of values that are neither awaited nor iterated."""


class Last:
    """What a generator of ours yields at its end: the outputs, and no item."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _turn() -> Awaitable[None]:
    return asyncio.sleep(0)


class Items:
    """Takes what a generator yields: sends it on at once, or keeps it up to the limit."""

    def __init__(self, emit: Callable[[bytes], None] | None, limit: int) -> None:
        self._emit = emit
        self._limit = limit
        self._kept: list[bytes] = []
        self._count = 0
        self._size = 2
        self._last: bytes | None = None

    def add(self, item: Any) -> None:
        if isinstance(item, Last):
            self._last = outputs.encode(item.value, limit=self._limit)
            return
        data = outputs.encode(item, limit=self._limit, root=f"outputs[{self._count}]")
        self._count += 1
        if self._emit is not None:
            with interrupts.held():
                self._emit(data)
            return
        self._size += len(data) + 1
        if self._size > self._limit + 1:
            raise outputs.too_large(self._limit, "outputs")
        self._kept.append(data)

    def end(self) -> bytes:
        if self._last is not None:
            return self._last
        return _NULL if self._emit is not None else b"[" + b",".join(self._kept) + b"]"


def _is_iterated(value: Any) -> bool:
    return isinstance(value, Iterator) and not isinstance(value, io.IOBase)


def _iterated(value: Any, items: Items) -> bytes:
    if hasattr(value, "close"):
        with closing(value):
            for item in value:
                items.add(item)
    else:
        for item in value:
            items.add(item)
    return items.end()


async def _iterated_async(
    value: Any, items: Items, turn: Callable[[], Awaitable[object]] = _turn
) -> bytes:
    """After each item the loop turns, so that a cancel reaches a generator that never waits."""
    if not hasattr(value, "aclose"):
        async for item in value:
            items.add(item)
            await turn()
        return items.end()
    async with aclosing(value):
        async for item in value:
            items.add(item)
            await turn()
    return items.end()


async def _settled(value: Any, items: Items, limit: int) -> bytes:
    """In a loop: await until there is something else."""
    while isinstance(value, Awaitable):
        value = await value
    if isinstance(value, AsyncIterator):
        return await _iterated_async(value, items)
    return _in_the_end(value, items, limit)


def _in_the_end(value: Any, items: Items, limit: int) -> bytes:
    if _is_iterated(value):
        return _iterated(value, items)
    return outputs.encode(value, limit=limit)


async def _one_by_one(values: Iterator[Any]) -> AsyncIterator[Any]:
    for value in values:
        yield value


async def awaited(
    value: Any,
    emit: Callable[[bytes], None] | None,
    limit: int,
    turn: Callable[[], Awaitable[object]],
) -> bytes:
    """As ``collected``, in a loop that others run in: they have their turn after each item, and
    ``emit`` is called again when ``turn`` has ended."""
    items = Items(emit, limit)
    while isinstance(value, Awaitable):
        value = await value
    if _is_iterated(value):
        value = _one_by_one(value)
    if isinstance(value, AsyncIterator):
        return await _iterated_async(value, items, turn)
    return outputs.encode(value, limit=limit)


def collected(
    value: Any, emit: Callable[[bytes], None] | None, limit: int, session: Session | None
) -> bytes:
    """The outputs as JSON. With ``emit``, what is yielded goes there and the outputs are null.

    Raises outputs.BadOutput, and whatever the program raises.
    """
    if type(value) in _DONE:
        return outputs.encode(value, limit=limit)
    items = Items(emit, limit)
    if isinstance(value, Awaitable | AsyncIterator):
        return loops.run(_settled(value, items, limit), session)
    return _in_the_end(value, items, limit)
