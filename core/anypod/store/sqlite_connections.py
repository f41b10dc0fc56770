"""How the SQLite driver holds its file: one connection that writes, one that reads.

Each has a thread of its own, by aiosqlite, and is handed whole functions: a transaction is one turn
of the thread, so it never waits, locked, for this process's loop, and a caller that is cancelled
leaves no half of one behind.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import aiosqlite

from anypod.store import sqlite_schema as sql
from anypod.store.kv import StoreUnavailable
from anypod.store.sqlite_clock import Clock
from anypod.store.sqlite_stamp import Stamp

_CALL_SECONDS = 5.0
_OPEN_SECONDS = 10.0
_OPEN_AGAIN_SECONDS = 0.02
_FETCHED_AT_ONCE = 64

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class _Connection(aiosqlite.Connection):
    async def run(self, work: Work[T]) -> T:
        """Do the work in the connection's thread."""
        result: T = await self._execute(work, self._conn)  # type: ignore[no-untyped-call]
        return result


class Connections:
    """All methods raise StoreUnavailable for what goes wrong with the file."""

    def __init__(self, path: Path) -> None:
        self.stamp = Stamp(path)
        self.clock = Clock()
        self._path = path
        self._opening = asyncio.Lock()
        self._opened: tuple[_Connection, _Connection] | None = None
        self.closed = False

    async def read(self, work: Work[T]) -> T:
        return await self._run(1, work)

    async def write(self, work: Work[T]) -> T:
        """Do the work as one transaction: committed at its end, rolled back when it raises."""
        return await self._run(0, lambda db: self._transaction(db, work))

    async def close(self) -> None:
        """What was begun is finished first."""
        async with self._opening:
            self.closed = True
            opened, self._opened = self._opened, None
        for connection in opened or ():
            await connection.close()
        self.stamp.close()

    async def _run(self, which: int, work: Work[T]) -> T:
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                connections = await self._open()
                return await connections[which].run(work)
        except TimeoutError:
            raise StoreUnavailable(f"{self._path}: busy for {_CALL_SECONDS:g} s") from None
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._path}: {error}") from error

    async def _open(self) -> tuple[_Connection, _Connection]:
        if self._opened is not None:
            return self._opened
        async with self._opening:
            if self.closed:
                raise StoreUnavailable(f"{self._path}: the store is closed")
            if self._opened is None:
                self._opened = await self._open_both()
            return self._opened

    async def _open_both(self) -> tuple[_Connection, _Connection]:
        try:
            await asyncio.to_thread(self._make_files)
        except OSError as error:
            raise StoreUnavailable(f"{self._path}: {error}") from error
        # The writer first: it makes the tables.
        writer = await self._connect()
        try:
            return writer, await self._connect()
        except BaseException:
            await writer.close()
            raise

    def _make_files(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self.stamp.open()

    async def _connect(self) -> _Connection:
        connection = _Connection(self._new, _FETCHED_AT_ONCE)
        await connection
        try:
            await connection.run(_prepare)
            await connection.run(self.clock.read)
        except BaseException:
            await connection.close()
            raise
        return connection

    def _new(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, isolation_level=None)

    def _transaction(self, db: sqlite3.Connection, work: Work[T]) -> T:
        self.clock.note_sleep(db)
        try:
            return _transaction(db, work)
        finally:  # an error does not always mean that nothing was written
            self.stamp.renew()


def _transaction(db: sqlite3.Connection, work: Work[T]) -> T:
    db.execute("BEGIN IMMEDIATE")
    try:
        result = work(db)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return result


def _prepare(db: sqlite3.Connection) -> None:
    """Make the tables, unless they are there. Raises StoreUnavailable for a foreign file."""
    for pragma in sql.CONNECTION:
        db.execute(pragma)
    _use_wal(db)
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if found not in (0, sql.FORMAT):
        raise StoreUnavailable(f"the file has format {found}; this version knows {sql.FORMAT}")
    if found == 0:
        db.executescript(sql.TABLES)


def _use_wal(db: sqlite3.Connection) -> None:
    """Switching to WAL does not wait for other processes that are opening the same new file."""
    until = time.monotonic() + _OPEN_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(_OPEN_AGAIN_SECONDS)
        else:
            return
