"""What a gateway keeps in memory: kept up to date, and asked of the store only when it must be."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from tests.support.counted import counted

from anypod.store.keys import PoolKeys
from anypod.store.kv import KeyValue, Put
from anypod.store.pool_watch import PoolWatch
from anypod.store.program_cache import ByteLru, ProgramCache
from anypod.store.program_records import RevisionNotFound
from anypod.store.programs import ProgramStore
from anypod.store.records import UnreadableRecord
from anypod.store.revisions import Revision, new_revision
from anypod.store.session_cache import SessionCache
from anypod.store.sessions import Pin, SessionStore
from anypod.wire.messages import Code


def revision(text: str) -> Revision:
    return new_revision(Code("python", {"main.py": text}, "main:main"))


class Gateway:
    """The caches of one gateway, and how often they have asked the store."""

    def __init__(self, store: KeyValue, pool: PoolKeys) -> None:
        observed, self.calls = counted(store)
        self.watch = PoolWatch(observed, pool)
        self.left: asyncio.Queue[Pin] = asyncio.Queue()
        self.programs = ProgramCache(observed, pool, self.watch)
        self.sessions = SessionCache(observed, pool, self.watch, self.left.put_nowait)


@pytest.fixture
async def gateway(store: KeyValue, pool: PoolKeys) -> AsyncIterator[Gateway]:
    made = Gateway(store, pool)
    running = asyncio.create_task(made.watch.run())
    await made.watch.synced.wait()
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled(), running.exception()


@pytest.fixture
def programs(other: KeyValue, pool: PoolKeys, gateway: Gateway) -> ProgramStore:
    """Another gateway's way to the same programs."""
    return ProgramStore(other, pool, confirm=gateway.watch.confirm)


@pytest.fixture
def sessions(other: KeyValue, pool: PoolKeys, gateway: Gateway) -> SessionStore:
    return SessionStore(other, pool, confirm=gateway.watch.confirm)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


async def test_a_thousand_calls_ask_the_store_a_few_times(
    gateway: Gateway, programs: ProgramStore
) -> None:
    made = (await programs.create("a", revision("1"))).head
    assert await gateway.programs.head("a") == made
    await gateway.programs.revision(made)
    gateway.calls.clear()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for _ in range(1000):
        assert await gateway.programs.head("a") == made
        assert (await gateway.programs.revision(made)) is not None
    probes = (loop.time() - begun) / 0.03
    assert sum(gateway.calls.values()) <= probes + 2


async def test_calls_at_once_share_one_probe(gateway: Gateway, programs: ProgramStore) -> None:
    made = (await programs.create("a", revision("1"))).head
    await until(lambda: gateway.watch.knowledge().silent_seconds > 0.1)
    gateway.calls.clear()
    heads = await asyncio.gather(*(gateway.programs.head("a") for _ in range(500)))
    assert heads == [made] * 500
    assert sum(gateway.calls.values()) <= 2


async def test_absence_is_asked_of_the_store(gateway: Gateway, programs: ProgramStore) -> None:
    gateway.calls.clear()
    for number in range(3):
        assert await gateway.programs.head("none") is None
        assert gateway.calls["get"] > number


async def test_what_was_there_before_is_known_from_the_start(
    store: KeyValue, pool: PoolKeys
) -> None:
    programs, sessions = ProgramStore(store, pool), SessionStore(store, pool)
    head = (await programs.create("a", revision("1"))).head
    pin, _ = await sessions.create("s", "w1", "i1", 60)
    gateway = Gateway(store, pool)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(gateway.watch.run())
        assert await gateway.programs.head("a") == head
        assert await gateway.sessions.pin("s") == pin
        await gateway.watch.synced.wait()
        assert len(gateway.sessions) == 1
        running.cancel()


async def test_a_sessions_program_hides_the_pools(
    gateway: Gateway,
    programs: ProgramStore,
    sessions: SessionStore,
    other: KeyValue,
    pool: PoolKeys,
) -> None:
    await sessions.create("s", "w1", "i1", 60)
    shared = (await programs.create("a", revision("pool"))).head
    assert await gateway.programs.head("a", "s") == shared
    confirm = gateway.watch.confirm
    owned = ProgramStore(other, pool, session="s", confirm=confirm)
    own = (await owned.create("a", revision("own"))).head
    assert await gateway.programs.head("a", "s") == own
    assert await gateway.programs.head("a", "s2") == shared
    assert await gateway.programs.head("a") == shared
    blob = await gateway.programs.revision(own)
    assert blob is not None
    assert blob.files == {"main.py": "own"}
    only = (await owned.create("b", revision("b"))).head
    assert await gateway.programs.head("b", "s") == only
    assert await gateway.programs.head("b") is None
    await owned.delete("a")
    assert await gateway.programs.head("a", "s") == shared
    await sessions.end("s")
    assert await gateway.programs.head("b", "s") is None


async def test_a_program_made_again_does_not_serve_the_old_blobs(
    gateway: Gateway, programs: ProgramStore
) -> None:
    await programs.create("a", revision("1"))
    await programs.put("a", revision("2"))
    old = await gateway.programs.head("a")
    assert old is not None
    assert await gateway.programs.revision(old, revision("1").revision) is not None
    await programs.delete("a")
    await programs.create("a", revision("2"))
    new = await gateway.programs.head("a")
    assert new is not None
    with pytest.raises(RevisionNotFound):
        await gateway.programs.resolve(new, revision("1").revision)
    assert await gateway.programs.revision(new, revision("1").revision) is None


async def test_a_revision_is_found_by_a_prefix_and_the_history_is_read_once(
    gateway: Gateway, programs: ProgramStore
) -> None:
    for text in "123":
        await programs.put("a", revision(text))
    head = await gateway.programs.head("a")
    assert head is not None
    first = revision("1").revision
    assert await gateway.programs.resolve(head, head.revision) == head.revision
    assert await gateway.programs.resolve(head, first[:8]) == first
    gateway.calls.clear()
    assert await gateway.programs.resolve(head, first) == first
    assert gateway.calls["get"] <= 1  # a heartbeat of the watch at most
    for bad in (first[:7], "0" * 8, "xyz"):
        with pytest.raises(RevisionNotFound):
            await gateway.programs.resolve(head, bad)


async def test_one_blob_is_loaded_once_for_all_who_wait(
    gateway: Gateway, programs: ProgramStore
) -> None:
    head = (await programs.create("a", revision("1"))).head
    gateway.calls.clear()
    first = asyncio.create_task(gateway.programs.revision(head))
    rest = [asyncio.create_task(gateway.programs.revision(head)) for _ in range(50)]
    await asyncio.sleep(0)
    first.cancel()
    blobs = await asyncio.gather(*rest)
    assert all(blob == blobs[0] and blob is not None for blob in blobs)
    assert gateway.calls["get"] <= 2


async def test_an_unreadable_head_is_an_error_and_not_an_absence(
    gateway: Gateway, programs: ProgramStore, other: KeyValue, pool: PoolKeys
) -> None:
    await programs.create("a", revision("1"))
    bad = [Put(pool.programs.head("b"), b'{"schema":7}'), Put(pool.changes, b"1")]
    await other.commit(bad)
    with pytest.raises(UnreadableRecord, match="schema 7"):
        await gateway.programs.head("b")
    assert await gateway.programs.head("a") is not None


async def test_pins_follow_the_session(gateway: Gateway, sessions: SessionStore) -> None:
    assert await gateway.sessions.pin("s") is None
    pin, _ = await sessions.create("s", "w1", "i1", 60)
    assert await gateway.sessions.pin("s") == pin
    moved = await sessions.repin(pin, "w2", "i2")
    await gateway.watch.confirm()
    assert await gateway.sessions.pin("s") == moved
    assert await gateway.left.get() == pin
    await sessions.end("s")
    assert await gateway.sessions.pin("s") is None
    assert await gateway.left.get() == moved


async def test_an_expired_session_is_told_of(gateway: Gateway, sessions: SessionStore) -> None:
    pin, _ = await sessions.create("s", "w1", "i1", 1)
    async with asyncio.timeout(30):
        assert await gateway.left.get() == pin
    assert await gateway.sessions.pin("s") is None


async def test_a_failing_listener_ends_the_watch_visibly(store: KeyValue, pool: PoolKeys) -> None:
    def fail(pin: Pin) -> None:
        raise ZeroDivisionError(pin.key)

    watch = PoolWatch(store, pool)
    SessionCache(store, pool, watch, fail)
    sessions = SessionStore(store, pool)
    await sessions.create("s", "w1", "i1", 60)
    running = asyncio.create_task(watch.run())
    await watch.synced.wait()
    await sessions.end("s")
    with pytest.raises(ExceptionGroup) as caught:
        await running
    assert caught.group_contains(ZeroDivisionError)


async def test_a_watch_whose_store_was_closed_ends_visibly(
    store: KeyValue, other: KeyValue, pool: PoolKeys
) -> None:
    watch = PoolWatch(other, pool)
    cache = SessionCache(other, pool, watch)
    running = asyncio.create_task(watch.run())
    await watch.synced.wait()
    await SessionStore(store, pool).create("s", "w1", "i1", 60)
    await until(lambda: len(cache) == 1)
    await other.close()
    with pytest.raises(ExceptionGroup):
        await running


def test_the_lru_holds_no_more_than_its_bytes() -> None:
    lru: ByteLru[int] = ByteLru(10)
    for number in range(4):
        lru.put((str(number),), number, 3)
    assert [lru.get((str(number),)) for number in range(4)] == [None, 1, 2, 3]
    assert lru.get(("1",)) == 1
    lru.put(("4",), 4, 3)
    assert [lru.get((name,)) for name in "1234"] == [1, None, 3, 4]
    lru.put(("3",), 33, 9)
    assert [lru.get((name,)) for name in "134"] == [None, 33, None]
    lru.put(("big",), 0, 11)
    assert lru.get(("big",)) is None
