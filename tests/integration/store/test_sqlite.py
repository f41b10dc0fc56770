"""What only the SQLite driver has to show: several processes, a bounded log, files not its own."""

import asyncio
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from tests.support.counted import counted

from anypod.store import sqlite_transactions as transactions
from anypod.store.keys import PoolKeys
from anypod.store.kv import Change, Conflict, DeletePrefix, KeyValue, Put, Reset, StoreUnavailable
from anypod.store.open import open_store
from anypod.store.pool_watch import WINDOW_SECONDS, Freshness, PoolWatch
from anypod.store.sqlite import SqliteStore
from anypod.store.sqlite_transactions import LogBound

INCREMENTS = 100

INCREMENT = """
import asyncio, sys
from anypod.store.kv import Conflict, Put
from anypod.store.open import open_store

async def main(url, key, times):
    store = open_store(url)
    while times:
        entry = await store.get(key)
        value = b"%d" % (int(entry.value if entry else 0) + 1)
        try:
            await store.commit([Put(key, value)], when=[(key, entry.version if entry else 0)])
        except Conflict:
            continue
        times -= 1
    await store.close()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def let_leases_end(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("UPDATE leases SET ends = ends - 1000")
    file.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "folder" / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[KeyValue]:
    opened = open_store(f"sqlite:{path}")
    yield opened
    await opened.close()


async def test_several_processes_that_open_a_new_file_at_once_lose_nothing(
    path: Path, store: KeyValue
) -> None:
    arguments = ("-c", INCREMENT, f"sqlite:{path}", "/x/count", str(INCREMENTS))
    processes = [await asyncio.create_subprocess_exec(sys.executable, *arguments) for _ in range(3)]
    async with aclosing(store.watch("/x/")) as events:
        seen: list[bytes | None] = []
        async for event in events:
            if isinstance(event, Reset):
                seen += [entry.value for entry in event.entries]
            elif isinstance(event, Change):
                seen.append(event.value)
            if seen and seen[-1] == b"%d" % (3 * INCREMENTS):
                break
    assert [await process.wait() for process in processes] == [0, 0, 0]
    first = int(seen[0] or 0)
    assert seen == [b"%d" % number for number in range(first, 3 * INCREMENTS + 1)]


async def test_a_killed_writer_leaves_a_file_that_works(path: Path, store: KeyValue) -> None:
    await store.commit([Put("/x/count", b"0")])
    for _ in range(3):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", INCREMENT, f"sqlite:{path}", "/x/count", "100000")
        )
        before = await store.get("/x/count")
        while await store.get("/x/count") == before:
            await asyncio.sleep(0.01)
        process.kill()
        await process.wait()
    entry = await store.get("/x/count")
    assert entry is not None
    await store.commit([Put("/x/count", b"done")], when=[("/x/count", entry.version)])


@pytest.mark.parametrize("bound", [LogBound(entries=8), LogBound(size=20_000)])
async def test_a_watcher_that_is_too_far_behind_is_told_everything_anew(
    path: Path, bound: LogBound
) -> None:
    store = SqliteStore(path, log_bound=bound)
    async with aclosing(store.watch("/x/")) as events:
        await anext(events)
        await store.commit([Put("/x/gone", b"")])
        for number in range(40):
            version = await store.commit([Put(f"/x/{number:02}", b"x" * 1000)])
        version = await store.commit([DeletePrefix("/x/gone/"), Put("/x/last", b"")])
        reset = await anext(events)
        assert isinstance(reset, Reset)
        assert len(reset.entries) == 42
        assert reset.revision == version
        follows = await store.commit([Put("/x/next", b"")])
        assert await anext(events) == Change("/x/next", b"", follows)
    await store.close()
    with sqlite3.connect(path) as file:
        rows, size = file.execute("SELECT count(*), sum(length(value)) FROM log").fetchone()
    file.close()
    assert rows <= bound.entries
    assert size <= bound.size


async def test_a_commit_larger_than_the_log_is_still_told(path: Path) -> None:
    store = SqliteStore(path, log_bound=LogBound(entries=4))
    for number in range(3):
        await store.commit([Put(f"/x/{number}{name}", b"") for name in "abcdefgh"])
    async with aclosing(store.watch("/x/")) as events:
        await anext(events)
        await store.commit([DeletePrefix("/x/")])
        reset = await anext(events)
        assert isinstance(reset, Reset)
        assert reset.entries == []
    await store.close()


async def test_a_file_locked_by_another_program_is_said_in_time_and_harms_nothing(
    path: Path, store: KeyValue
) -> None:
    version = await store.commit([Put("/x/a", b"1")])

    def lock() -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("BEGIN IMMEDIATE")
        return connection

    holder = await asyncio.to_thread(lock)
    with pytest.raises(StoreUnavailable, match="locked"):
        await store.commit([Put("/x/a", b"2")])
    entry = await store.get("/x/a")  # readers are not locked out
    assert entry is not None
    assert entry.version == version
    await asyncio.to_thread(holder.execute, "ROLLBACK")
    await asyncio.to_thread(holder.close)
    await store.commit([Put("/x/a", b"3")], when=[("/x/a", version)])


async def test_a_file_of_something_else_is_left_alone(path: Path, store: KeyValue) -> None:
    await asyncio.to_thread(path.parent.mkdir, parents=True)
    await asyncio.to_thread(path.write_bytes, b"not a database, and large enough for a header" * 9)
    before = await asyncio.to_thread(path.read_bytes)
    with pytest.raises(StoreUnavailable, match="not a database"):
        await store.get("/x/a")
    assert await asyncio.to_thread(path.read_bytes) == before


async def test_a_file_of_a_newer_format_is_refused(path: Path, store: KeyValue) -> None:
    await store.commit([Put("/x/a", b"")])
    await store.close()

    def raise_format() -> None:
        with sqlite3.connect(path) as file:
            file.execute("PRAGMA user_version = 2")
        file.close()

    await asyncio.to_thread(raise_format)
    again = open_store(f"sqlite:{path}")
    with pytest.raises(StoreUnavailable, match="format 2; this version knows 1"):
        await again.get("/x/a")
    await again.close()


async def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = open_store(f"sqlite:{tmp_path / 'file' / 'store.db'}")
    with pytest.raises(StoreUnavailable, match="file"):
        await store.get("/x/a")
    await store.close()


async def test_a_lease_ends_though_nobody_was_there(path: Path) -> None:
    store = SqliteStore(path)
    lease = await store.grant(600)
    version = await store.commit([Put("/x/a", b"", lease)])
    await store.close()
    await asyncio.to_thread(let_leases_end, path)
    later = SqliteStore(path)
    assert await later.get("/x/a") is None
    with pytest.raises(Conflict):
        await later.commit([Put("/x/a", b"")], when=[("/x/a", version)])
    await later.commit([Put("/x/a", b"new")], when=[("/x/a", 0)])
    await later.close()


async def test_what_is_kept_survives_the_end_of_all_processes(path: Path) -> None:
    first = SqliteStore(path)
    version = await first.commit([Put("/x/a", b"1")])
    await first.close()
    second = SqliteStore(path)
    entry = await second.get("/x/a")
    assert entry is not None
    assert (entry.value, entry.version) == (b"1", version)
    assert await second.commit([Put("/x/a", b"2")]) > version
    await second.close()


async def test_a_watch_that_does_not_run_lets_nobody_wait_for_ever(store: KeyValue) -> None:
    watch = PoolWatch(store, watch_keys())
    assert await watch.current() is Freshness.AWAY


async def test_the_stamp_is_another_one_after_a_write_of_any_process(
    path: Path, store: KeyValue
) -> None:
    await store.get("/x/count")
    other = SqliteStore(path)
    stamps = [store.stamp()]
    await store.commit([Put("/x/a", b"")])
    stamps.append(store.stamp())
    lease = await other.grant(600)
    stamps.append(store.stamp())
    await other.renew(lease)
    stamps.append(store.stamp())
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", INCREMENT, f"sqlite:{path}", "/x/count", "1")
    )
    assert await process.wait() == 0
    stamps.append(store.stamp())
    await other.get("/x/count")
    assert other.stamp() == store.stamp() == stamps[-1]
    assert None not in stamps
    assert len(set(stamps)) == len(stamps)
    await other.close()


async def test_while_nothing_is_written_it_costs_no_read_to_be_fresh(store: KeyValue) -> None:
    observed, calls = counted(store)
    async with _watching(observed) as watch:
        calls.clear()
        for _ in range(200):
            assert await watch.current() is Freshness.FRESH
            await asyncio.sleep(WINDOW_SECONDS / 20)
        assert calls["get"] < 10  # the heartbeat's


async def test_a_write_whose_process_died_before_its_stamp_is_seen(
    path: Path, store: KeyValue
) -> None:
    def write_unstamped() -> int:
        file = sqlite3.connect(path, isolation_level=None)
        file.execute("BEGIN IMMEDIATE")
        revision = transactions.commit(file, [Put("/x/a", b"1")], [], LogBound(), time.time())
        file.execute("COMMIT")
        file.close()
        return revision

    async with aclosing(store.watch("/x/")) as events:
        await anext(events)
        stamp = store.stamp()
        revision = await asyncio.to_thread(write_unstamped)
        assert store.stamp() == stamp
        assert await anext(events) == Change("/x/a", b"1", revision)


async def test_whose_stamp_was_removed_reads_as_if_there_were_none(
    path: Path, store: KeyValue
) -> None:
    async with _watching(store) as watch:
        await asyncio.to_thread(path.with_name(f"{path.name}-stamp").unlink)
        while store.stamp() is not None:
            await asyncio.sleep(0.01)
        other = SqliteStore(path)
        await other.commit([Put(watch_keys().changes, b"")])
        assert await watch.current() is Freshness.FRESH
        await other.close()


def watch_keys() -> PoolKeys:
    return PoolKeys("test", "pool")


@asynccontextmanager
async def _watching(store: KeyValue) -> AsyncIterator[PoolWatch]:
    watch = PoolWatch(store, watch_keys())
    running = asyncio.create_task(watch.run())
    await watch.synced.wait()
    assert await watch.current() is Freshness.FRESH
    yield watch
    running.cancel()
    await asyncio.wait([running])
