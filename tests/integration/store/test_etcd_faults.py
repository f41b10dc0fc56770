"""etcd killed, frozen, cut off and compacted under those who use it: nothing missed, no flood."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from etcd3aio import Etcd3Client
from tests.support.etcd import EtcdServer, running_etcd
from tests.support.tcp_proxy import TcpProxy

from anypod.store.etcd import EtcdStore
from anypod.store.keys import PoolKeys
from anypod.store.kv import Change, Delete, KeyValue, Put, Reset, StoreUnavailable, Synced
from anypod.store.pool_watch import Freshness, PoolWatch
from anypod.store.program_cache import ProgramCache
from anypod.store.programs import ProgramStore
from anypod.store.revisions import new_revision
from anypod.store.session_cache import SessionCache
from anypod.store.sessions import Pin, SessionStore
from anypod.wire.messages import Code

REVISION = new_revision(Code("python", {"main.py": "1"}, "main:main"))


@asynccontextmanager
async def opened(*endpoints: str) -> AsyncIterator[EtcdStore]:
    store = EtcdStore(endpoints)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def following(store: KeyValue, prefix: str) -> AsyncIterator["Follower"]:
    follower = Follower()
    task = asyncio.create_task(follower.follow(store, prefix))
    try:
        await follower.until(lambda: follower.resets > 0)
        yield follower
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled(), task.exception()


class Follower:
    """A reader of a watch that keeps what a cache would."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.changes: list[Change] = []
        self.resets = 0
        self.revision = 0
        self._news = asyncio.Condition()

    async def follow(self, store: KeyValue, prefix: str) -> None:
        async with aclosing(store.watch(prefix)) as events:
            async for event in events:
                self._take(event)
                async with self._news:
                    self._news.notify_all()

    def _take(self, event: Change | Reset | Synced) -> None:
        if isinstance(event, Reset):
            self.values = {entry.key: entry.value for entry in event.entries}
            self.revision = event.revision
            self.resets += 1
        elif isinstance(event, Synced):
            self.revision = event.revision
        else:
            self.changes.append(event)
            self.values.pop(event.key, None)
            if event.value is not None:
                self.values[event.key] = event.value

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60), self._news:
            await self._news.wait_for(holds)


async def compact(server: EtcdServer, revision: int) -> None:
    async with Etcd3Client([server.endpoint]) as client:
        assert client.kv is not None
        await client.kv.compact(revision, physical=True, timeout=10)


def of_the_store(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name.startswith("anypod.store")]


async def test_a_restart_loses_no_change_and_needs_no_new_reading(
    etcd: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(etcd.endpoint) as store, following(store, "/w/") as follower:
        first = await store.commit([Put("/w/a", b"1"), Put("/w/b", b"1")])
        await follower.until(lambda: follower.revision >= first)
        for number in range(3):
            await asyncio.to_thread(etcd.kill)
            await asyncio.to_thread(etcd.start)
            version = await store.commit([Put("/w/a", b"%d" % number), Delete("/w/b")])
            version = await store.commit([Put("/w/b", b"again")])
            await follower.until(lambda version=version: follower.revision >= version)  # type: ignore[misc]
    assert follower.values == {"/w/a": b"2", "/w/b": b"again"}
    assert follower.resets == 1
    seen = [(change.key, change.value) for change in follower.changes]
    each = [[("/w/a", b"%d" % n), ("/w/b", None), ("/w/b", b"again")] for n in range(3)]
    assert seen == [("/w/a", b"1"), ("/w/b", b"1"), *each[0], *each[1], *each[2]]
    assert len(of_the_store(caplog)) <= 2 * 3


async def test_a_read_waits_for_a_server_that_comes_back(etcd: EtcdServer) -> None:
    async with opened(etcd.endpoint) as store:
        version = await store.commit([Put("/w/a", b"1")])
        await asyncio.to_thread(etcd.kill)
        reading = asyncio.create_task(store.get("/w/a"))
        await asyncio.to_thread(etcd.start)
        entry = await reading
        assert entry is not None
        assert entry.version == version


async def test_no_server_at_all_is_said_in_time(tmp_path: Path) -> None:
    with running_etcd(tmp_path) as server:
        endpoint = server.endpoint
    async with opened(endpoint) as store:
        calls = [
            store.get("/w/a"),
            store.get_many(["/w/a"]),
            store.commit([Put("/w/a", b"")]),
            store.page("/w/"),
            store.grant(5),
            store.renew(1),
            store.revoke(1),
            store.time_left(1),
        ]
        async with asyncio.timeout(30):
            results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results if not isinstance(result, StoreUnavailable)] == []


async def test_compaction_behind_a_broken_connection_misses_no_deletion(
    etcd: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Break the connection, delete and write and compact, restore."""
    caplog.set_level(logging.INFO)
    async with (
        TcpProxy(etcd.port) as proxy,
        opened(f"127.0.0.1:{proxy.port}") as far,
        opened(etcd.endpoint) as near,
    ):
        await near.commit([Put("/w/gone", b"1"), Put("/w/stays", b"1"), Put("/w/changes", b"1")])
        async with following(far, "/w/") as follower:
            # The watch itself, and not only its first reading, has to be under way.
            version = await near.commit([Put("/w/begin", b"")])
            await follower.until(lambda: follower.revision >= version)
            for round_ in range(2, 4):
                await proxy.cut()
                await near.commit([Delete("/w/gone"), Put("/w/changes", b"%d" % round_)])
                version = await near.commit([Put("/w/new", b"%d" % round_)])
                await compact(etcd, version)
                await proxy.restore()
                await follower.until(lambda version=version: follower.revision >= version)  # type: ignore[misc]
                await near.commit([Put("/w/gone", b"back")])
                version = await near.commit([Put("/w/last", b"%d" % round_)])
                await follower.until(lambda version=version: follower.revision >= version)  # type: ignore[misc]
        there = {entry.key: entry.value for entry in (await near.page("/w/")).entries}
    assert follower.values == there
    assert follower.resets == 1 + 2
    assert len(of_the_store(caplog)) <= 2 * 2


async def test_compaction_while_the_watch_is_up_needs_no_new_reading(etcd: EtcdServer) -> None:
    async with opened(etcd.endpoint) as store, following(store, "/w/") as follower:
        for number in range(5):
            version = await store.commit([Put("/w/a", b"%d" % number)])
            # A watch that is not under way yet, or has fallen behind, may have to read anew.
            await follower.until(lambda version=version: follower.revision >= version)  # type: ignore[misc]
            await compact(etcd, version)
        version = await store.commit([Delete("/w/a")])
        await follower.until(lambda: follower.revision >= version)
    assert follower.resets == 1
    assert [change.value for change in follower.changes] == [b"0", b"1", b"2", b"3", b"4", None]


async def test_a_store_whose_data_was_replaced_is_read_anew(
    etcd: EtcdServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its revisions begin again: a watch that waits for the next old one would wait for ever. And
    it is said, for all that callers see is that their programs are not there."""
    async with opened(etcd.endpoint) as store, following(store, "/w/") as follower:
        for number in range(20):
            version = await store.commit([Put(f"/w/{number}", b"")])
        await follower.until(lambda: follower.revision >= version)
        await asyncio.to_thread(etcd.kill)
        (tmp_path / "etcd" / "data").rename(tmp_path / "old")
        await asyncio.to_thread(etcd.start)
        await store.commit([Put("/w/new", b"")])
        await follower.until(lambda: set(follower.values) == {"/w/new"})
    assert sum("its data was replaced" in told for told in of_the_store(caplog)) == 1


async def test_a_connection_that_always_breaks_fills_no_log(
    etcd: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with (
        TcpProxy(etcd.port) as proxy,
        opened(f"127.0.0.1:{proxy.port}") as far,
        following(far, "/w/") as follower,
        opened(etcd.endpoint) as near,
    ):
        for number in range(5):
            version = await near.commit([Put("/w/a", b"%d" % number)])
            await follower.until(lambda version=version: follower.revision >= version)  # type: ignore[misc]
            await proxy.cut()
            await proxy.restore()
    assert len(of_the_store(caplog)) <= 2


class Gateway:
    def __init__(self, store: KeyValue, pool: PoolKeys) -> None:
        self.watch = PoolWatch(store, pool)
        self.left: asyncio.Queue[Pin] = asyncio.Queue()
        self.programs = ProgramCache(store, pool, self.watch)
        self.sessions = SessionCache(store, pool, self.watch, self.left.put_nowait)


@asynccontextmanager
async def gateway(store: KeyValue, pool: PoolKeys) -> AsyncIterator[Gateway]:
    made = Gateway(store, pool)
    running = asyncio.create_task(made.watch.run())
    await made.watch.synced.wait()
    try:
        yield made
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert running.cancelled(), running.exception()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_cached_programs_are_served_without_a_store(
    etcd: EtcdServer, pool: PoolKeys, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    async with opened(etcd.endpoint) as store, gateway(store, pool) as front:
        programs = ProgramStore(store, pool, confirm=front.watch.confirm)
        sessions = SessionStore(store, pool)
        head = (await programs.create("a", REVISION)).head
        pin, _ = await sessions.create("s", "w1", "i1", 60)
        await programs.put("b", REVISION)
        await until(lambda: len(front.sessions) == 1)
        assert await front.programs.head("a") == head
        await front.programs.revision(head)
        caplog.clear()

        await asyncio.to_thread(etcd.kill) if how == "killed" else etcd.freeze()
        assert await front.programs.head("a") == head
        await until(lambda: front.watch.away)
        for _ in range(200):
            assert await front.programs.head("a") == head
            assert await front.programs.revision(head) is not None
        assert await front.sessions.pin("s") == pin
        with pytest.raises(StoreUnavailable):
            await front.programs.head("none")
        with pytest.raises(StoreUnavailable):
            await front.sessions.pin("none")
        assert front.watch.knowledge().silent_seconds > 1

        await asyncio.to_thread(etcd.start) if how == "killed" else etcd.thaw()
        await until(lambda: not front.watch.away)
        assert await front.programs.head("none") is None
        updated = await programs.put("a", REVISION, {"new": "label"})
        assert await front.programs.head("a") == updated.head
        assert await front.watch.current() is Freshness.FRESH
        warnings = [r for r in caplog.records if r.levelno >= logging.WARNING]
    # One of the cache; and of the watch, if its connection broke.
    assert len(warnings) <= 2, [record.message for record in warnings]


async def test_a_session_that_ended_behind_a_compaction_is_told_of(
    etcd: EtcdServer, pool: PoolKeys
) -> None:
    async with (
        TcpProxy(etcd.port) as proxy,
        opened(f"127.0.0.1:{proxy.port}") as far,
        opened(etcd.endpoint) as near,
        gateway(far, pool) as front,
    ):
        sessions = SessionStore(near, pool)
        ends, _ = await sessions.create("ends", "w1", "i1", 60)
        moves, _ = await sessions.create("moves", "w1", "i1", 60)
        await sessions.create("stays", "w1", "i1", 60)
        await until(lambda: len(front.sessions) == 3)
        await proxy.cut()
        await sessions.end("ends")
        moved = await sessions.repin(moves, "w2", "i2")
        await compact(etcd, moved.version)
        await proxy.restore()
        async with asyncio.timeout(60):
            left = [await front.left.get() for _ in range(2)]
        assert sorted(pin.key for pin in left) == ["ends", "moves"]
        assert {pin.version for pin in left} == {ends.version, moves.version}
        assert front.left.empty()
        assert await front.sessions.pin("moves") == moved


async def test_one_of_several_servers_is_enough(
    etcd: EtcdServer, shared_etcd: EtcdServer, room: str
) -> None:
    """A dead endpoint is left out; the names are looked up."""
    port = shared_etcd.port
    await asyncio.to_thread(etcd.kill)
    for endpoints in (
        [f"127.0.0.1:{etcd.port}", f"127.0.0.1:{port}"],
        [f"localhost:{etcd.port}", f"localhost:{port}"],
        [f"localhost:{port}"],
    ):
        async with opened(*endpoints) as store, following(store, room) as follower:
            version = await store.commit([Put(room + "a", b"1")])
            assert await store.get(room + "a") is not None
            await follower.until(lambda version=version: follower.revision >= version)  # type: ignore[misc]


async def test_a_name_that_nobody_knows_is_said_so() -> None:
    async with opened("no-such-host.invalid:1", "nor-this.invalid:1") as store:
        with pytest.raises(StoreUnavailable, match="no address known"):
            await store.get("/w/a")
