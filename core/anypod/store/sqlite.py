"""The driver for one SQLite file, for local mode; several processes may open the same file.

The watch reads a change log in the file, at once after a write of this process and every few
milliseconds for the writes of others. Leases end by the wall clock: an ended one's keys are not
seen any more, and are deleted by the next writer or watcher.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import aiosqlite

from anypod.store import sqlite_schema as sql
from anypod.store.checks import Write, check_commit, check_key, check_keys, check_prefix, prefix_end
from anypod.store.kv import (
    Change,
    Conflict,
    Delete,
    DeletePrefix,
    Entry,
    LeaseEnded,
    Page,
    Put,
    Reset,
    StoreUnavailable,
    Synced,
    WatchEvent,
)
from anypod.store.outage import Outage
from anypod.store.sqlite_connections import Connections

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.02
_PAGE_BYTES = 4 * 1024 * 1024
_ALL = -1
"""The LIMIT of a query that has none."""

LOG_ENTRIES = 4096
LOG_BYTES = 16 * 1024 * 1024

Row = Sequence[Any]


class SqliteStore:
    def __init__(
        self, path: Path, *, log_entries: int = LOG_ENTRIES, log_bytes: int = LOG_BYTES
    ) -> None:
        self._name = f"sqlite {path}"
        self._connections = Connections(path)
        self._log_entries = log_entries
        self._log_bytes = log_bytes
        self._news = asyncio.Event()
        self._polled = 0

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
        async with self._connections.writing() as db:
            await _sweep(db)
            await _check_versions(db, when)
            await _check_leases(db, writes)
            await db.execute(sql.NEXT_REVISION)
            for write in writes:
                await _write(db, write)
            await self._trim(db)
            revision = await _scalar(db, sql.STATE)
        self._tell()
        return int(revision)

    async def page(
        self, prefix: str, *, after: str = "", limit: int = 1000, values: bool = True
    ) -> Page:
        check_prefix(prefix)
        rows = await self._page(prefix, after, limit + 1, values, _PAGE_BYTES)
        entries = [Entry(*row[2:]) for row in rows if row[2] is not None][:limit]
        return Page(entries, rows[0][0], more=(rows[0][1] or 0) > len(entries))

    async def grant(self, ttl_seconds: float) -> int:
        async with self._connections.writing() as db:
            row = await db.execute_insert(
                sql.GRANT, {"ttl": ttl_seconds, "ends": time.time() + ttl_seconds}
            )
        assert row is not None
        return int(row[0])

    async def renew(self, lease: int) -> bool:
        async with self._connections.writing() as db:
            await db.execute(sql.RENEW, {"lease": lease, "now": time.time()})
            return bool(await _scalar(db, "SELECT changes()"))

    async def revoke(self, lease: int) -> None:
        async with self._connections.writing() as db:
            await db.execute(sql.NEXT_REVISION)
            await db.execute(sql.REVOKE_KEYS, (lease,))
            await db.execute(sql.REVOKE, (lease,))
        self._tell()

    async def time_left(self, lease: int) -> float | None:
        rows = await self._select(sql.TIME_LEFT, lease=lease)
        return float(rows[0][0]) if rows else None

    async def watch(self, prefix: str) -> AsyncGenerator[WatchEvent, None]:
        check_prefix(prefix)
        outage = Outage(log, f"{self._name}: watch of {prefix}")
        delivered = 0
        while not self._connections.closed:
            news = self._news
            try:
                if not delivered:
                    reset = await self._snapshot(prefix)
                    yield reset
                    delivered = reset.revision
                changes, revision = await self._changes(prefix, delivered)
                for change in changes:
                    yield change
                if revision != delivered:
                    yield Synced(revision)
                delivered = revision
                outage.over()
            except _Trimmed as error:
                log.info("%s: watch of %s: %s", self._name, prefix, error)
                delivered = 0
            except StoreUnavailable as error:
                outage.failed(error)
                await outage.pause()
            else:
                await _wait(news)

    async def close(self) -> None:
        await self._connections.close()
        self._tell()

    async def _select(self, query: str, **values: Any) -> list[Row]:
        async with self._connections.reading() as db:
            return list(await db.execute_fetchall(query, {**values, "now": time.time()}))

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
        rows = await self._page(prefix, "", _ALL, True, 1 << 62)
        return Reset([Entry(*row[2:]) for row in rows if row[2] is not None], rows[0][0])

    async def _changes(self, prefix: str, delivered: int) -> tuple[list[Change], int]:
        """What has happened since, and up to which revision. Raises _Trimmed."""
        ((revision, next_end),) = await self._select(sql.STATE)
        if next_end is not None and next_end <= time.time():
            await self._sweep_now()
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

    async def _sweep_now(self) -> None:
        async with self._connections.writing() as db:
            await _sweep(db)
        self._tell()

    async def _trim(self, db: aiosqlite.Connection) -> None:
        bounds = {"entries": self._log_entries, "bytes": self._log_bytes}
        last = await _scalar(db, sql.TRIM_TO, bounds)
        if last > 0:
            await db.execute(sql.TRIM_MARK, (last,))
            await db.execute(sql.TRIM, (last,))

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


async def _scalar(db: aiosqlite.Connection, query: str, values: Any = None) -> Any:
    return next(iter(await db.execute_fetchall(query, values)))[0]


async def _wait(news: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_POLL_SECONDS):
            await news.wait()
    except TimeoutError:
        return


async def _sweep(db: aiosqlite.Connection) -> None:
    """Delete what belongs to ended leases, as a revision of its own."""
    ended = [row[0] for row in await db.execute_fetchall(sql.ENDED, (time.time(),))]
    if not ended:
        return
    await db.execute(sql.NEXT_REVISION)
    for lease in ended:
        await db.execute(sql.REVOKE_KEYS, (lease,))
        await db.execute(sql.REVOKE, (lease,))


async def _check_versions(db: aiosqlite.Connection, when: Sequence[tuple[str, int]]) -> None:
    keys = json.dumps([key for key, _ in when])
    found: dict[str, int] = dict(await db.execute_fetchall(sql.VERSIONS, (keys,)))  # type: ignore[arg-type]
    changed = [key for key, version in when if found.get(key, 0) != version]
    if changed:
        raise Conflict(f"changed meanwhile: {', '.join(changed)}")


async def _check_leases(db: aiosqlite.Connection, writes: Sequence[Write]) -> None:
    leases = {write.lease for write in writes if isinstance(write, Put) and write.lease}
    if not leases:
        return
    living = {row[0] for row in await db.execute_fetchall(sql.LIVING, (json.dumps(list(leases)),))}
    if leases - living:
        raise LeaseEnded(f"no such lease: {sorted(leases - living)}")


async def _write(db: aiosqlite.Connection, write: Write) -> None:
    match write:
        case Put(key, value, lease):
            await db.execute(sql.PUT, (key, value, lease))
        case Delete(key):
            await db.execute(sql.DELETE, (key,))
        case DeletePrefix(prefix):
            await db.execute(sql.DELETE_RANGE, (prefix, prefix_end(prefix)))
