"""The protocol's promises, the same for both drivers."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from anypod.store.kv import (
    MAX_COMMIT_BYTES,
    MAX_OPERATIONS,
    MAX_VALUE_BYTES,
    Change,
    Conflict,
    Delete,
    DeletePrefix,
    Entry,
    KeyValue,
    LeaseEnded,
    Put,
    Reset,
    StoreUnavailable,
    Synced,
    ValueTooLarge,
    WatchEvent,
)


async def test_a_written_value_is_read_back_through_another_opening(
    store: KeyValue, other: KeyValue, room: str
) -> None:
    assert await store.get(room + "a") is None
    value = bytes(range(256))
    version = await store.commit([Put(room + "a", value)])
    assert await other.get(room + "a") == Entry(room + "a", value, version)


async def test_an_empty_value_is_not_an_absent_one(store: KeyValue, room: str) -> None:
    version = await store.commit([Put(room + "a", b"")])
    assert await store.get(room + "a") == Entry(room + "a", b"", version)


async def test_every_write_raises_the_revision(store: KeyValue, room: str) -> None:
    first = await store.commit([Put(room + "a", b"1")])
    second = await store.commit([Put(room + "a", b"2"), Put(room + "b", b"2")])
    assert second > first
    entries, revision = await store.get_many([room + "b", room + "none", room + "a"])
    assert [entry and entry.version for entry in entries] == [second, None, second]
    assert revision >= second


async def test_a_commit_needs_all_its_conditions(store: KeyValue, room: str) -> None:
    version = await store.commit([Put(room + "a", b"1")], when=[(room + "a", 0)])
    for when in (
        [(room + "a", 0)],
        [(room + "a", version + 1)],
        [(room + "a", version), (room + "b", version)],
    ):
        with pytest.raises(Conflict):
            await store.commit([Put(room + "a", b"2"), Put(room + "b", b"2")], when=when)
    assert await store.get(room + "a") == Entry(room + "a", b"1", version)
    assert await store.get(room + "b") is None
    await store.commit([Put(room + "b", b"2")], when=[(room + "a", version), (room + "b", 0)])


async def test_a_deleted_key_has_version_0_again(store: KeyValue, room: str) -> None:
    version = await store.commit([Put(room + "a", b"1")])
    await store.commit([Delete(room + "a")], when=[(room + "a", version)])
    with pytest.raises(Conflict):
        await store.commit([Put(room + "a", b"2")], when=[(room + "a", version)])
    await store.commit([Put(room + "a", b"2")], when=[(room + "a", 0)])


async def test_deletion_is_of_the_exact_key(store: KeyValue, room: str) -> None:
    names = ["a", "a_", "ab", "a/b", "A"]
    await store.commit([Put(room + name, b"") for name in names])
    await store.commit([Delete(room + "a")])
    left = {entry.key.removeprefix(room) for entry in (await store.page(room)).entries}
    assert left == {"a_", "ab", "a/b", "A"}


async def test_deletion_of_a_folder_leaves_its_neighbours(store: KeyValue, room: str) -> None:
    names = ["a", "a/1", "a/2/3", "a0", "ab/1", "a.1"]
    await store.commit([Put(room + name, b"") for name in names])
    await store.commit([DeletePrefix(room + "a/"), Put(room + "new", b"")])
    left = {entry.key.removeprefix(room) for entry in (await store.page(room)).entries}
    assert left == {"a", "a0", "ab/1", "a.1", "new"}


@pytest.mark.parametrize("key", ["", "a\0b"])
async def test_what_is_not_a_key_is_refused(store: KeyValue, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        await store.get(key)
    with pytest.raises(ValueError, match="not a key"):
        await store.commit([Delete(key)])
    with pytest.raises(ValueError, match="not a key"):
        await store.commit([], when=[(key, 0)])


@pytest.mark.parametrize("prefix", ["", "/", "/a"])
async def test_a_prefix_must_be_a_folder(store: KeyValue, prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        await store.commit([DeletePrefix(prefix)])
    with pytest.raises(ValueError, match="prefix"):
        await store.page(prefix)
    with pytest.raises(ValueError, match="prefix"):
        await anext(store.watch(prefix))


async def test_too_large_a_value_is_refused_before_writing(store: KeyValue, room: str) -> None:
    await store.commit([Put(room + "fits", b"x" * MAX_VALUE_BYTES)])
    with pytest.raises(ValueTooLarge) as caught:
        await store.commit([Put(room + "a", b""), Put(room + "b", b"x" * (MAX_VALUE_BYTES + 1))])
    assert (caught.value.size, caught.value.limit) == (MAX_VALUE_BYTES + 1, MAX_VALUE_BYTES)
    parts = [Put(f"{room}{name}", b"x" * (MAX_COMMIT_BYTES // 2)) for name in "ab"]
    with pytest.raises(ValueTooLarge, match=str(MAX_COMMIT_BYTES)):
        await store.commit(parts)
    assert await store.get(room + "a") is None


async def test_the_largest_commit_is_taken(store: KeyValue, room: str) -> None:
    rest = MAX_COMMIT_BYTES - MAX_VALUE_BYTES - 2 * len(room + "a")
    puts = [Put(room + "a", b"x" * MAX_VALUE_BYTES), Put(room + "b", b"x" * rest)]
    await store.commit(puts, when=[(room + "a", 0)])


async def test_too_many_operations_are_refused(store: KeyValue, room: str) -> None:
    keys = [f"{room}{number:03}" for number in range(MAX_OPERATIONS + 1)]
    with pytest.raises(ValueError, match="at most"):
        await store.commit([Put(key, b"") for key in keys])
    with pytest.raises(ValueError, match="at most"):
        await store.get_many(keys)
    fit = keys[:MAX_OPERATIONS]
    await store.commit([Put(key, b"") for key in fit], when=[(key, 0) for key in fit])
    entries, _ = await store.get_many(fit)
    assert [entry and entry.key for entry in entries] == fit


@pytest.mark.parametrize(
    "writes",
    [
        [Put("/x/a", b"1"), Put("/x/a", b"2")],
        [Put("/x/a", b"1"), Delete("/x/a")],
        [Put("/x/a", b"1"), DeletePrefix("/x/")],
    ],
)
async def test_a_commit_touches_a_key_once(
    store: KeyValue, writes: list[Put | Delete | DeletePrefix]
) -> None:
    with pytest.raises(ValueError, match="one commit puts"):
        await store.commit(writes)


async def test_pages_show_every_key_once_and_in_order(store: KeyValue, room: str) -> None:
    names = sorted(f"{number}é" if number % 3 else f"{number}/x" for number in range(250))
    for begin in range(0, 250, 50):
        await store.commit([Put(room + name, name.encode()) for name in names[begin : begin + 50]])
    await store.commit([Put(room[:-1] + "0", b"")])  # the first key beyond the prefix
    seen: list[str] = []
    after = ""
    while True:
        page = await store.page(room, after=after, limit=60)
        assert all(entry.value == entry.key.removeprefix(room).encode() for entry in page.entries)
        seen += [entry.key.removeprefix(room) for entry in page.entries]
        if not page.more:
            break
        assert len(page.entries) == 60
        after = page.entries[-1].key
    assert seen == sorted(names, key=str.encode)


async def test_a_page_can_leave_the_values_out(store: KeyValue, room: str) -> None:
    version = await store.commit([Put(room + "a", b"value")])
    page = await store.page(room, values=False)
    assert page.entries == [Entry(room + "a", b"", version)]
    assert not page.more


async def test_a_page_ends_exactly_at_its_limit(store: KeyValue, room: str) -> None:
    await store.commit([Put(f"{room}{name}", b"") for name in "abc"])
    assert [(await store.page(room, limit=limit)).more for limit in (2, 3, 4)] == [
        True,
        False,
        False,
    ]
    empty = await store.page(room + "none/")
    assert (empty.entries, empty.more) == ([], False)
    assert empty.revision > 0


async def test_large_values_make_short_pages_not_large_answers(store: KeyValue, room: str) -> None:
    for number in range(12):
        await store.commit([Put(f"{room}{number:02}", b"x" * MAX_VALUE_BYTES)])
    seen: list[str] = []
    after, more = "", True
    while more:
        page = await store.page(room, after=after)
        assert 0 < len(page.entries) < 12 or not page.more
        seen += [entry.key for entry in page.entries]
        more, after = page.more, seen[-1]
    assert seen == [f"{room}{number:02}" for number in range(12)]


async def test_a_watch_begins_with_what_is_there(store: KeyValue, room: str) -> None:
    version = await store.commit([Put(room + "a", b"1"), Put(room + "b", b"1")])
    async with aclosing(store.watch(room)) as events:
        first = await anext(events)
    assert isinstance(first, Reset)
    assert first.entries == [Entry(room + "a", b"1", version), Entry(room + "b", b"1", version)]
    assert first.revision >= version


async def test_a_watch_has_every_change_in_order_and_whole_commits(
    store: KeyValue, other: KeyValue, room: str
) -> None:
    async with aclosing(store.watch(room)) as events:
        begin = await anext(events)
        assert isinstance(begin, Reset)
        assert begin.entries == []
        written: list[Change] = []
        for number in range(20):
            name = f"{room}{number % 3}"
            version = await other.commit([Put(name, b"%d" % number), Put(room + "all", b"")])
            written += [Change(name, b"%d" % number, version), Change(room + "all", b"", version)]
        version = await other.commit([DeletePrefix(room)])
        seen: list[Change] = []
        async for event in events:
            if isinstance(event, Change):
                seen.append(event)
            elif isinstance(event, Synced) and event.revision >= version:
                break
    assert seen[: len(written)] == written
    gone = {name + number for name in [room] for number in ("0", "1", "2", "all")}
    assert {change.key for change in seen[len(written) :]} == gone
    assert all(change == Change(change.key, None, version) for change in seen[len(written) :])


async def test_a_watch_sees_nothing_beyond_its_prefix(store: KeyValue, room: str) -> None:
    async with aclosing(store.watch(room + "in/")) as events:
        await anext(events)
        await store.commit([Put(room + "in", b""), Put(room + "in0", b"")])
        version = await store.commit([Put(room + "in/a", b"")])
        changes = [
            event async for event in _until_synced(events, version) if isinstance(event, Change)
        ]
    assert changes == [Change(room + "in/a", b"", version)]


async def test_an_entry_knows_its_lease(store: KeyValue, other: KeyValue, room: str) -> None:
    lease = await store.grant(600)
    version = await store.commit([Put(room + "a", b"1", lease), Put(room + "b", b"2")])
    held, free = Entry(room + "a", b"1", version, lease), Entry(room + "b", b"2", version)
    assert await other.get(room + "a") == held
    assert (await other.get_many([room + "a", room + "b"]))[0] == [held, free]
    assert (await other.page(room)).entries == [held, free]


async def test_keys_go_when_their_lease_ends(store: KeyValue, other: KeyValue, room: str) -> None:
    async with aclosing(other.watch(room)) as events:
        await anext(events)
        await put_for_a_second(store, [room + "a"], stays=room + "stays")
        gone = [event async for event in events_until_deletion(events) if event.key == room + "a"]
    assert [change.value for change in gone] == [b"1", None]
    assert await store.get(room + "a") is None
    assert (await store.get_many([room + "a"]))[0] == [None]
    assert [entry.key for entry in (await store.page(room)).entries] == [room + "stays"]
    await store.commit([Put(room + "a", b"2")], when=[(room + "a", 0)])


async def test_renewal_starts_the_lease_anew(store: KeyValue) -> None:
    lease = await store.grant(100)
    full = await store.time_left(lease)
    assert full is not None
    assert 98 < full <= 100
    while (left := await store.time_left(lease)) is None or left > full - 1:
        await asyncio.sleep(0.05)
    assert await store.renew(lease)
    renewed = await store.time_left(lease)
    assert renewed is not None
    assert renewed > left
    await store.revoke(lease)
    assert await store.time_left(lease) is None


async def test_a_revoked_lease_takes_its_keys_along(store: KeyValue, room: str) -> None:
    lease, other_lease = await store.grant(60), await store.grant(60)
    await store.commit([Put(room + "a", b"", lease), Put(room + "b", b"", other_lease)])
    await store.revoke(lease)
    assert await store.get(room + "a") is None
    assert await store.get(room + "b") is not None
    assert not await store.renew(lease)
    await store.revoke(lease)


async def test_a_put_without_lease_stays_when_the_old_one_ends(store: KeyValue, room: str) -> None:
    lease = await store.grant(60)
    await store.commit([Put(room + "a", b"1", lease)])
    await store.commit([Put(room + "a", b"2")])
    await store.revoke(lease)
    entry = await store.get(room + "a")
    assert entry is not None
    assert (entry.value, entry.lease) == (b"2", 0)


async def test_nothing_can_be_put_with_an_ended_lease(store: KeyValue, room: str) -> None:
    lease = await store.grant(60)
    await store.revoke(lease)
    with pytest.raises(LeaseEnded):
        await store.commit([Put(room + "a", b"", lease), Put(room + "b", b"")])
    assert await store.get(room + "b") is None
    assert not await store.renew(lease)


async def test_many_increments_at_once_lose_nothing(
    store: KeyValue, other: KeyValue, room: str
) -> None:
    key = room + "count"
    await store.commit([Put(key, b"0")])

    async def increment(through: KeyValue) -> None:
        while True:
            entry = await through.get(key)
            assert entry is not None
            value = b"%d" % (int(entry.value) + 1)
            try:
                await through.commit([Put(key, value)], when=[(key, entry.version)])
            except Conflict:
                continue
            return

    async with asyncio.TaskGroup() as tasks:
        for number in range(60):
            tasks.create_task(increment(store if number % 2 else other))
    entry = await store.get(key)
    assert entry is not None
    assert entry.value == b"60"


async def test_a_cancelled_commit_harms_no_later_one(store: KeyValue, room: str) -> None:
    for number in range(30):
        doomed = asyncio.create_task(store.commit([Put(room + "a", b"x"), Put(room + "b", b"x")]))
        for _ in range(number % 7):
            await asyncio.sleep(0)
        doomed.cancel()
        await asyncio.gather(doomed, return_exceptions=True)
        await store.commit([Put(room + "c", b"%d" % number)])
        (a, b, c), _ = await store.get_many([room + "a", room + "b", room + "c"])
        assert (a and a.version) == (b and b.version)
        assert c is not None
        assert c.value == b"%d" % number


async def test_a_closed_store_says_so(store: KeyValue, room: str) -> None:
    await store.commit([Put(room + "a", b"")])
    await store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.get(room + "a")
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.commit([Put(room + "a", b"")])


async def put_for_a_second(store: KeyValue, keys: list[str], stays: str) -> None:
    while True:
        lease = await store.grant(1)
        try:
            await store.commit([*(Put(key, b"1", lease) for key in keys), Put(stays, b"1")])
        except LeaseEnded:
            continue  # this machine has slept for that second
        return


async def events_until_deletion(
    events: AsyncGenerator[WatchEvent, None],
) -> AsyncGenerator[Change, None]:
    async for event in events:
        if isinstance(event, Change):
            yield event
            if event.value is None:
                return


async def _until_synced(
    events: AsyncGenerator[WatchEvent, None], version: int
) -> AsyncGenerator[WatchEvent, None]:
    async for event in events:
        yield event
        if isinstance(event, Synced) and event.revision >= version:
            return
