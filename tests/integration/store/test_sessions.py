"""Sessions in the store: one pin for all, and a state that no cut-off worker can overwrite."""

import asyncio
import itertools
from typing import Any

import pytest

from anypod.store.keys import InvalidName, PoolKeys
from anypod.store.kv import MAX_VALUE_BYTES, KeyValue, Put, StoreUnavailable, ValueTooLarge
from anypod.store.sessions import SessionEnded, SessionStore, StateConflict


@pytest.fixture
def sessions(store: KeyValue, pool: PoolKeys) -> SessionStore:
    return SessionStore(store, pool)


async def test_all_who_create_a_session_get_one_pin(
    sessions: SessionStore, other: KeyValue, pool: PoolKeys
) -> None:
    through_other = SessionStore(other, pool)
    made = await asyncio.gather(
        *(
            (sessions if number % 2 else through_other).create("s", f"w{number}", "i", 60)
            for number in range(20)
        )
    )
    assert len({pin.worker for pin, _ in made}) == 1
    assert [created for _, created in made].count(True) == 1
    assert {pin.version for pin, _ in made} == {(await through_other.get("s")).version}  # type: ignore[union-attr]


async def test_a_session_begins_with_an_empty_state(sessions: SessionStore) -> None:
    assert await sessions.get("s") is None
    assert await sessions.state("s") is None
    pin, created = await sessions.create("s", "w1", "i1", 60)
    assert created
    assert (pin.worker, pin.instance, pin.ttl_seconds) == ("w1", "i1", 60)
    state = await sessions.state("s")
    assert state is not None
    assert (state.json, state.epoch) == (b"{}", pin.epoch)
    left = await sessions.time_left(pin)
    assert left is not None
    assert 0 < left <= 60


@pytest.mark.parametrize(
    "text",
    [
        '{"big": 123456789012345678901234567890,  "text":"nan\\nInfinity é\\u00e9"}',
        '{"unpaired": "\\ud800 \\\\ud800", "\\udfff": {"quoted": "\\"é"}}',
    ],
)
async def test_a_state_is_kept_byte_for_byte(sessions: SessionStore, text: str) -> None:
    pin, _ = await sessions.create("s", "w1", "i1", 60)
    state = await sessions.state("s")
    assert state is not None
    version = await sessions.write_state(pin, text.encode(), base=state.version)
    read = await sessions.state("s")
    assert read is not None
    assert (read.json, read.version) == (text.encode(), version)


@pytest.mark.parametrize("bad", [b"", b"{", b"NaN", b'{}, "epoch": 9', b"[" * 100_000])
async def test_what_is_not_json_is_no_state(sessions: SessionStore, bad: bytes) -> None:
    pin, _ = await sessions.create("s", "w1", "i1", 60)
    with pytest.raises(ValueError, match="not JSON"):
        await sessions.write_state(pin, bad, base=pin.version)
    assert (await sessions.state("s")).json == b"{}"  # type: ignore[union-attr]


async def test_a_state_too_large_is_refused_and_the_old_one_stays(sessions: SessionStore) -> None:
    pin, _ = await sessions.create("s", "w1", "i1", 60)
    version = await sessions.write_state(pin, b'{"a":1}', base=pin.version)
    with pytest.raises(ValueTooLarge):
        await sessions.write_state(pin, b'"%s"' % (b"x" * MAX_VALUE_BYTES), base=version)
    assert (await sessions.state("s")).json == b'{"a":1}'  # type: ignore[union-attr]


async def test_a_state_is_written_only_over_the_one_it_began_from(sessions: SessionStore) -> None:
    pin, _ = await sessions.create("s", "w1", "i1", 60)
    version = await sessions.write_state(pin, b"1", base=pin.version)
    for base in (pin.version, version + 1, 0, -1):
        with pytest.raises(StateConflict):
            await sessions.write_state(pin, b"2", base=base)
    await sessions.write_state(pin, b"2", base=version)


@pytest.mark.parametrize("written", [True, False])
async def test_a_state_whose_write_broke_off_is_there_once(
    sessions: SessionStore, store: KeyValue, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    """Whether the store had done it when it broke off, or not."""
    pin, _ = await sessions.create("s", "w1", "i1", 60)
    commit, calls = store.commit, itertools.count()

    async def break_off(*what: Any, **when: Any) -> int:
        if next(calls):
            return await commit(*what, **when)
        if written:
            await commit(*what, **when)
        raise StoreUnavailable("gone")

    monkeypatch.setattr(store, "commit", break_off)
    version = await sessions.write_state(pin, b"1", base=pin.version)
    assert next(calls) == 2
    state = await sessions.state("s")
    assert state is not None
    assert (state.json, state.version) == (b"1", version)


async def test_a_state_that_another_one_followed_is_not_taken_for_written(
    sessions: SessionStore, store: KeyValue, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin, _ = await sessions.create("s", "w1", "i1", 60)
    commit = store.commit

    async def move_and_break_off(*_: Any, **__: Any) -> int:
        monkeypatch.setattr(store, "commit", commit)
        await sessions.repin(pin, "w2", "i2")
        raise StoreUnavailable("gone")

    monkeypatch.setattr(store, "commit", move_and_break_off)
    with pytest.raises(StateConflict):
        await sessions.write_state(pin, b"1", base=pin.version)
    state = await sessions.state("s")
    assert state is not None
    assert state.json == b"{}"


async def test_a_moved_session_keeps_its_state_and_shuts_out_the_old_worker(
    sessions: SessionStore,
) -> None:
    pin, _ = await sessions.create("s", "w1", "i1", 60)
    version = await sessions.write_state(pin, b'{"n":1}', base=pin.version)
    moved = await sessions.repin(pin, "w2", "i2")
    assert (moved.worker, moved.instance, moved.epoch) == ("w2", "i2", pin.epoch + 1)
    assert moved == await sessions.get("s")
    with pytest.raises(StateConflict):
        await sessions.write_state(pin, b'{"n":2}', base=version)
    state = await sessions.state("s")
    assert state is not None
    assert (state.json, state.epoch) == (b'{"n":1}', moved.epoch)
    await sessions.write_state(moved, b'{"n":3}', base=state.version)


async def test_of_many_who_move_a_session_one_decides(sessions: SessionStore) -> None:
    pin, _ = await sessions.create("s", "w0", "i", 60)
    moved = await asyncio.gather(*(sessions.repin(pin, f"w{n}", "i") for n in range(1, 21)))
    assert len({after.worker for after in moved}) == 1
    assert {after.epoch for after in moved} == {pin.epoch + 1}


async def test_moving_races_with_writing_and_neither_is_lost(sessions: SessionStore) -> None:
    pin, _ = await sessions.create("s", "w0", "i", 60)
    base = pin.version
    last = b"0"

    async def write() -> None:
        nonlocal base, last
        for number in itertools.count():
            await asyncio.sleep(0.001)  # an execution lies between two writes
            value = b"%d" % number
            try:
                base = await sessions.write_state(pin, value, base=base)
            except StateConflict:
                return
            last = value

    writing = asyncio.create_task(write())
    while base == pin.version:
        await asyncio.sleep(0)
    await sessions.repin(pin, "w1", "i")
    await writing
    assert (await sessions.state("s")).json == last  # type: ignore[union-attr]


async def test_an_ended_session_is_gone_with_its_state(sessions: SessionStore) -> None:
    pin, _ = await sessions.create("s", "w1", "i1", 60)
    assert await sessions.end("s") == pin
    assert await sessions.end("s") is None
    assert await sessions.get("s") is None
    assert await sessions.state("s") is None
    assert await sessions.time_left(pin) is None
    assert not await sessions.renew(pin)
    with pytest.raises(SessionEnded):
        await sessions.repin(pin, "w2", "i2")
    with pytest.raises(StateConflict):
        await sessions.write_state(pin, b"1", base=pin.version)


async def test_a_session_of_the_same_key_has_a_higher_epoch(sessions: SessionStore) -> None:
    highest = 0
    for _ in range(5):
        pin, created = await sessions.create("s", "w1", "i1", 60)
        assert created
        assert pin.epoch > highest
        for _ in range(3):
            pin = await sessions.repin(pin, "w2", "i2")
        highest = pin.epoch
        await sessions.end("s")


async def test_a_session_ends_when_nobody_renews_it(
    sessions: SessionStore, store: KeyValue, pool: PoolKeys
) -> None:
    short, _ = await sessions.create("short", "w1", "i1", 1)
    await sessions.create("long", "w1", "i1", 60)
    while await sessions.get("short") is not None:
        await asyncio.sleep(0.05)
    assert await sessions.state("short") is None
    assert [pin.key for pin in (await sessions.page()).items] == ["long"]
    with pytest.raises(StateConflict):
        await sessions.write_state(short, b"1", base=short.version)


async def test_pages_have_each_session_once(
    sessions: SessionStore, store: KeyValue, pool: PoolKeys
) -> None:
    keys = sorted(f"{number}~:@-" for number in range(9))
    for key in keys:
        await sessions.create(key, "w1", "i1", 60)
    await store.commit([Put(pool.pin("4"), b"bad")])
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = await sessions.page(after=after, limit=3)
        seen += [pin.key for pin in page.items]
        after = page.next
    assert seen == keys


@pytest.mark.parametrize("key", ["", "a/b", "x" * 129, "é", "a b"])
async def test_what_is_not_a_key_reaches_no_store(sessions: SessionStore, key: str) -> None:
    for attempt in (sessions.get(key), sessions.end(key), sessions.create(key, "w", "i", 60)):
        with pytest.raises(InvalidName):
            await attempt
