"""A driver whose calls are timed, for metrics."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TypeVar

from anypod.store.checks import Write
from anypod.store.kv import Entry, KeyValue, Page, StoreUnavailable, WatchEvent

Observer = Callable[[str, float, bool], None]
"""Is told of each call: the operation's name, seconds, and whether the store answered."""

T = TypeVar("T")


class ObservedStore:
    def __init__(self, store: KeyValue, observe: Observer) -> None:
        self._store = store
        self._observe = observe

    async def get(self, key: str) -> Entry | None:
        return await self._timed("get", self._store.get(key))

    async def get_many(self, keys: Sequence[str]) -> tuple[list[Entry | None], int]:
        return await self._timed("get", self._store.get_many(keys))

    async def commit(self, writes: Sequence[Write], *, when: Sequence[tuple[str, int]] = ()) -> int:
        return await self._timed("commit", self._store.commit(writes, when=when))

    async def page(
        self, prefix: str, *, after: str = "", limit: int = 1000, values: bool = True
    ) -> Page:
        page = self._store.page(prefix, after=after, limit=limit, values=values)
        return await self._timed("page", page)

    async def grant(self, ttl_seconds: float) -> int:
        return await self._timed("grant", self._store.grant(ttl_seconds))

    async def renew(self, lease: int) -> bool:
        return await self._timed("renew", self._store.renew(lease))

    async def revoke(self, lease: int) -> None:
        await self._timed("revoke", self._store.revoke(lease))

    async def time_left(self, lease: int) -> float | None:
        return await self._timed("time_left", self._store.time_left(lease))

    def watch(self, prefix: str) -> AsyncGenerator[WatchEvent, None]:
        return self._store.watch(prefix)

    def stamp(self) -> int | None:
        return self._store.stamp()

    async def close(self) -> None:
        await self._store.close()

    async def _timed(self, operation: str, call: Awaitable[T]) -> T:
        begun = time.monotonic()
        answered = True
        try:
            return await call
        except StoreUnavailable:
            answered = False
            raise
        finally:
            self._observe(operation, time.monotonic() - begun, answered)
