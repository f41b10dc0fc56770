"""How the SQLite driver holds its file: one connection that writes, one that reads.

A connection sees its own open transaction, so a reader on the writing one would see what may yet
be rolled back. Each connection has a thread of its own, by aiosqlite.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite

from anypod.store import sqlite_schema as sql
from anypod.store.kv import StoreUnavailable

_CALL_SECONDS = 5.0
_OPEN_SECONDS = 10.0
_OPEN_AGAIN_SECONDS = 0.02


class Connections:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._opening = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._writer: aiosqlite.Connection | None = None
        self._reader: aiosqlite.Connection | None = None
        self.closed = False

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[aiosqlite.Connection, None]:
        """Raises StoreUnavailable for all that goes wrong inside."""
        async with self._guard():
            yield (await self._opened())[1]

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[aiosqlite.Connection, None]:
        """One transaction: committed at the end, rolled back when anything is raised inside."""
        async with self._guard(), self._writing:
            writer, _ = await self._opened()
            try:
                await writer.execute("BEGIN IMMEDIATE")
                yield writer
                await writer.execute("COMMIT")
            except BaseException:
                await _roll_back(writer)
                raise

    async def close(self) -> None:
        """What is being written is finished first."""
        self.closed = True
        async with self._writing, self._opening:
            opened = [self._writer, self._reader]
            self._writer = self._reader = None
        for connection in opened:
            if connection is not None:
                await connection.close()

    @asynccontextmanager
    async def _guard(self) -> AsyncGenerator[None, None]:
        if self.closed:
            raise StoreUnavailable("the store is closed")
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                yield
        except TimeoutError:
            raise StoreUnavailable(f"{self._path}: busy for {_CALL_SECONDS:g} s") from None
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._path}: {error}") from error

    async def _opened(self) -> tuple[aiosqlite.Connection, aiosqlite.Connection]:
        async with self._opening:
            if self.closed:
                raise StoreUnavailable("the store is closed")
            if self._writer is None or self._reader is None:
                self._writer, self._reader = await self._open()
            return self._writer, self._reader

    async def _open(self) -> tuple[aiosqlite.Connection, aiosqlite.Connection]:
        try:
            await asyncio.to_thread(self._path.parent.mkdir, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"{self._path}: {error}") from error
        writer = await self._connect()
        try:
            await _prepare(writer)
            return writer, await self._connect()
        except BaseException:
            await writer.close()
            raise

    async def _connect(self) -> aiosqlite.Connection:
        connection = await aiosqlite.connect(self._path, isolation_level=None)
        try:
            for pragma in sql.CONNECTION:
                await connection.execute(pragma)
        except BaseException:
            await connection.close()
            raise
        return connection


async def _prepare(writer: aiosqlite.Connection) -> None:
    """Make the tables, unless they are there. Raises StoreUnavailable for a foreign file."""
    await _use_wal(writer)
    found = next(iter(await writer.execute_fetchall("PRAGMA user_version")))[0]
    if found not in (0, sql.FORMAT):
        raise StoreUnavailable(f"the file has format {found}; this version knows {sql.FORMAT}")
    if found == 0:
        await writer.executescript(sql.TABLES)


async def _use_wal(writer: aiosqlite.Connection) -> None:
    """Switching to WAL does not wait for other processes that are opening the same new file."""
    until = time.monotonic() + _OPEN_SECONDS
    while True:
        try:
            await writer.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(_OPEN_AGAIN_SECONDS)
        else:
            return


async def _roll_back(writer: aiosqlite.Connection) -> None:
    # Queued to the connection's thread at once, behind what a cancelled call may have left there.
    try:
        await writer.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return  # no transaction is open: BEGIN itself failed, or COMMIT went through
