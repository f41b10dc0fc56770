"""The driver for one SQLite file, for local mode; several processes may open the same file.

The watch reads a change log in the file: at once after a write of this process, and within a few
milliseconds after one of another, which it sees by the stamp. Leases end by a clock that nobody
sets: an ended one's keys are not seen any more, and are deleted by the next writer or watcher.
"""

import asyncio
import json
import logging
import math
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

from anypod.store import sqlite_schema as sql
from anypod.store import sqlite_transactions as transactions
from anypod.store.checks import Write, check_commit, check_key, check_keys, check_prefix, prefix_end
from anypod.store.kv import (
    Change,
    Entry,
    Page,
    Reset,
    StoreUnavailable,
    Synced,
    WatchEvent,
)
from anypod.store.outage import Outage
from anypod.store.sqlite_connections import Connections
from anypod.store.sqlite_transactions import LogBound

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.02
_READ_SECONDS = 1.0
"""A watch reads the log that often, stamped or not: a process may be killed between its commit and
its stamp."""
_PAGE_BYTES = 4 * 1024 * 1024
_ALL = -1
"""The LIMIT of a query that has none."""

Row = Sequence[Any]


class SqliteStore:
    def __init__(self, path: Path, *, log_bound: LogBound | None = None) -> None:
        self._name = f"sqlite {path}"
        self._connections = Connections(path)
        self._clock = self._connections.clock
        self._log_bound = log_bound or LogBound()
        self._news = asyncio.Event()
        self._polled = 0
        self._next_end = 0.0
        """When the next lease ends, as far as is known."""

    async def get(self, key: str) -> Entry | None:
        check_key(key)
        rows = await self._select(sql.GET, key=key)
        return self._seen(Entry(*rows[0])) if rows else None

    async def get_many(self, keys: Sequence[str]) -> tuple[list[Entry | None], int]:
        check_keys(keys)
        rows = await self._select(sql.GET_MANY, keys=json.dumps(keys))
        found = {row[1]: Entry(*row[1:]) for row in rows}
        return [found.get(key) for key in keys], rows[0][0]

    async def commit(self, writes: Sequence[Write], *, when: Sequence[tuple[str, int]] = ()) -> int:
        check_commit(writes, when)
        bound, clock = self._log_bound, self._clock
        revision = await self._connections.write(
            lambda db: transactions.commit(db, writes, when, bound, clock.now())
        )
        self._tell()
        return revision

    async def page(
        self, prefix: str, *, after: str = "", limit: int = 1000, values: bool = True
    ) -> Page:
        check_prefix(prefix)
        rows = await self._page(prefix, after, limit + 1, values, _PAGE_BYTES)
        entries = [Entry(*row[2:]) for row in rows if row[2] is not None][:limit]
        return Page(entries, rows[0][0], more=(rows[0][1] or 0) > len(entries))

    async def grant(self, ttl_seconds: float) -> int:
        now = self._clock.now
        return await self._connections.write(lambda db: transactions.grant(db, ttl_seconds, now()))

    async def renew(self, lease: int) -> bool:
        now = self._clock.now
        return await self._connections.write(lambda db: transactions.renew(db, lease, now()))

    async def revoke(self, lease: int) -> None:
        await self._connections.write(lambda db: transactions.revoke(db, lease))
        self._tell()

    async def time_left(self, lease: int) -> float | None:
        rows = await self._select(sql.TIME_LEFT, lease=lease)
        return float(rows[0][0]) if rows else None

    async def watch(self, prefix: str) -> AsyncGenerator[WatchEvent, None]:
        check_prefix(prefix)
        outage = Outage(log, f"{self._name}: watch of {prefix}")
        delivered = 0
        seen: int | None = None
        while not self._connections.closed:
            news = self._news
            try:
                if not delivered:
                    reset = await self._snapshot(prefix)
                    yield reset
                    delivered, seen = reset.revision, reset.stamp
                stamp = self.stamp()
                changes, revision = await self._changes(prefix, delivered)
                for change in changes:
                    yield change
                if (revision, stamp) != (delivered, seen):
                    yield Synced(revision, stamp)
                delivered, seen = revision, stamp
                outage.over()
            except _Trimmed as error:
                log.info("%s: watch of %s: %s", self._name, prefix, error)
                delivered = 0
            except StoreUnavailable as error:
                outage.failed(error)
                await outage.pause()
            else:
                await self._wait(news, seen)

    def stamp(self) -> int | None:
        return self._connections.stamp.read()

    async def close(self) -> None:
        await self._connections.close()
        self._tell()

    async def _select(self, query: str, **values: Any) -> list[Row]:
        now = self._clock.now
        return await self._connections.read(
            lambda db: db.execute(query, {**values, "now": now()}).fetchall()
        )

    async def _page(
        self, prefix: str, after: str, limit: int, values: bool, size: int
    ) -> list[Row]:
        return await self._select(
            sql.PAGE,
            start=prefix,
            end=prefix_end(prefix),
            after=after,
            limit=limit,
            with_values=values,
            bytes=size,
        )

    async def _snapshot(self, prefix: str) -> Reset:
        stamp = self.stamp()
        rows = await self._page(prefix, "", _ALL, True, 1 << 62)
        return Reset([Entry(*row[2:]) for row in rows if row[2] is not None], rows[0][0], stamp)

    async def _changes(self, prefix: str, delivered: int) -> tuple[list[Change], int]:
        """What has happened since, and up to which revision. Raises _Trimmed."""
        ((revision, next_end),) = await self._select(sql.STATE)
        self._next_end = math.inf if next_end is None else next_end
        if next_end is not None and next_end <= self._clock.now():
            await self._sweep()
        elif revision == delivered:
            return [], revision
        rows = await self._select(
            sql.CHANGES, delivered=delivered, start=prefix, end=prefix_end(prefix)
        )
        revision, trimmed = rows[0][:2]
        if not trimmed <= delivered <= revision:
            raise _Trimmed(f"the log no longer has what came after revision {delivered}")
        self._polled = max(self._polled, revision)
        return [Change(*row[2:]) for row in rows if row[2] is not None], revision

    async def _sweep(self) -> None:
        now = self._clock.now
        await self._connections.write(lambda db: transactions.sweep(db, now()))
        self._tell()

    async def _wait(self, news: asyncio.Event, seen: int | None) -> None:
        """Until there may be something new.

        A callback looks, not a task: who wakes that often should do little.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + _READ_SECONDS
        timer: asyncio.TimerHandle

        def look() -> None:
            nonlocal timer
            if self._may_be_new(seen) or loop.time() >= until:
                if self._news is news:
                    self._tell()
            else:
                timer = loop.call_later(_POLL_SECONDS, look)

        timer = loop.call_later(_POLL_SECONDS, look)
        try:
            await news.wait()
        finally:
            timer.cancel()

    def _may_be_new(self, seen: int | None) -> bool:
        self._connections.stamp.check()
        return seen is None or self.stamp() != seen or self._clock.now() >= self._next_end

    def _seen(self, entry: Entry) -> Entry:
        """A reader has seen a write of another process: let the watches read it now."""
        if entry.version > self._polled:
            self._tell()
        return entry

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


class _Trimmed(Exception):
    """The log does not reach back that far."""
