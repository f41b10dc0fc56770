"""Programs in the store: what each change leaves behind, and who loses a race."""

import asyncio
import logging

import pytest

from anypod.store import program_records
from anypod.store.keys import InvalidName, PoolKeys
from anypod.store.kv import KeyValue, Put, ValueTooLarge
from anypod.store.program_records import (
    AlreadyExists,
    ProgramNotFound,
    RevisionConflict,
    RevisionNotFound,
)
from anypod.store.programs import ProgramStore
from anypod.store.records import UnreadableRecord
from anypod.store.revisions import Revision, new_revision
from anypod.store.sessions import SessionEnded, SessionStore
from anypod.wire.messages import Checked, Code


def revision(text: str, **more: object) -> Revision:
    return new_revision(Code("python", {"main.py": text}, "main:main"), **more)  # type: ignore[arg-type]


@pytest.fixture
def programs(store: KeyValue, pool: PoolKeys) -> ProgramStore:
    return ProgramStore(store, pool)


async def changes_version(store: KeyValue, pool: PoolKeys) -> int:
    entry = await store.get(pool.changes)
    return entry.version if entry is not None else 0


async def all_keys(store: KeyValue, pool: PoolKeys) -> set[str]:
    root = pool.watched.removesuffix("watched/")
    return {entry.key for entry in (await store.page(root, values=False)).entries}


async def test_a_created_program_is_read_back(programs: ProgramStore) -> None:
    checked = Checked(
        id="x", inputs_schema=b'{"type":"object","max":123456789012345678901234567890}', doc="Hi"
    )
    made = revision("1", timeout_seconds=2.5, idempotent=True, checked=checked)
    written = await programs.create("a", made, {"team": "x"})
    assert written.created
    head = await programs.get("a")
    assert head == written.head
    assert head is not None
    assert (head.revision, head.labels, head.timeout_seconds) == (
        made.revision,
        {"team": "x"},
        2.5,
    )
    blob = await programs.revision("a", made.revision)
    assert blob is not None
    assert blob.code == made.code
    assert blob.inputs_schema == {"type": "object", "max": 123456789012345678901234567890}
    assert (blob.doc, blob.idempotent) == ("Hi", True)


async def test_creating_the_same_program_again_changes_nothing(
    programs: ProgramStore, store: KeyValue, pool: PoolKeys
) -> None:
    first = await programs.create("a", revision("1"), {"x": "y"})
    before = await changes_version(store, pool)
    for labels in (None, {"x": "y"}):
        again = await programs.create("a", revision("1"), labels)
        assert (again.head, again.created, again.changed) == (first.head, False, False)
    assert await changes_version(store, pool) == before


async def test_an_id_is_taken_by_other_content_or_labels(programs: ProgramStore) -> None:
    await programs.create("a", revision("1"))
    with pytest.raises(AlreadyExists):
        await programs.create("a", revision("2"))
    with pytest.raises(AlreadyExists):
        await programs.create("a", revision("1"), {"new": "label"})


async def test_of_many_creators_of_one_id_one_wins(programs: ProgramStore) -> None:
    results = await asyncio.gather(
        *(programs.create("a", revision(str(number))) for number in range(20)),
        return_exceptions=True,
    )
    won = [result for result in results if not isinstance(result, BaseException)]
    assert len(won) == 1
    assert all(isinstance(result, AlreadyExists) for result in results if result not in won)
    head = await programs.get("a")
    assert head == won[0].head


async def test_every_change_of_a_head_is_a_change_of_the_pool(
    programs: ProgramStore, store: KeyValue, pool: PoolKeys
) -> None:
    made = await programs.create("a", revision("1"))
    assert await changes_version(store, pool) == made.head.version
    put = await programs.put("a", revision("2"))
    assert await changes_version(store, pool) == put.head.version
    back = await programs.rollback("a")
    assert await changes_version(store, pool) == back.head.version
    await programs.delete("a")
    assert await changes_version(store, pool) > back.head.version


async def test_a_put_keeps_what_it_does_not_name(programs: ProgramStore) -> None:
    made = (await programs.create("a", revision("1"), {"x": "y"})).head
    put = (await programs.put("a", revision("2"))).head
    assert (put.labels, put.created_at, put.uid) == (made.labels, made.created_at, made.uid)
    assert put.updated_at > made.updated_at
    relabelled = await programs.put("a", revision("2"), {})
    assert (relabelled.head.labels, relabelled.changed) == ({}, True)
    assert not (await programs.put("a", revision("2"), {})).changed


async def test_if_match_guards_every_change(programs: ProgramStore) -> None:
    with pytest.raises(RevisionConflict):
        await programs.put("a", revision("1"), if_match="*")
    first = (await programs.put("a", revision("1"))).head.revision
    second = (await programs.put("a", revision("2"), if_match=first)).head.revision
    for attempt in (
        programs.put("a", revision("3"), if_match=first),
        programs.rollback("a", if_match=first),
        programs.delete("a", if_match=first),
    ):
        with pytest.raises(RevisionConflict, match=second):
            await attempt
    assert (await programs.put("a", revision("3"), if_match="*")).changed


async def test_of_many_writers_with_one_if_match_one_wins(programs: ProgramStore) -> None:
    begin = (await programs.create("a", revision("0"))).head.revision
    results = await asyncio.gather(
        *(programs.put("a", revision(str(n)), if_match=begin) for n in range(1, 21)),
        return_exceptions=True,
    )
    assert sum(not isinstance(result, BaseException) for result in results) == 1
    assert sum(isinstance(result, RevisionConflict) for result in results) == 19


async def test_many_unguarded_writers_all_get_their_turn(programs: ProgramStore) -> None:
    await programs.create("a", revision("0"))
    await asyncio.gather(*(programs.put("a", revision(str(n))) for n in range(1, 21)))
    history = {step.revision for step in await programs.revisions("a")}
    assert history == {revision(str(n)).revision for n in range(21)}


async def test_rollback_goes_to_what_was_current_before(programs: ProgramStore) -> None:
    one, two, three = (revision(text).revision for text in "123")
    for text in "123":
        await programs.put("a", revision(text))
    assert (await programs.rollback("a")).head.revision == two
    assert (await programs.rollback("a")).head.revision == three
    assert (await programs.rollback("a", one[:8])).head.revision == one
    assert [step.revision for step in await programs.revisions("a")] == [one, three, two]
    assert not (await programs.rollback("a", one)).changed
    assert (await programs.get("a")).entrypoint == "main:main"  # type: ignore[union-attr]


async def test_rollback_needs_somewhere_to_go(programs: ProgramStore) -> None:
    with pytest.raises(ProgramNotFound):
        await programs.rollback("a")
    made = await programs.create("a", revision("1"))
    with pytest.raises(RevisionNotFound, match="no earlier"):
        await programs.rollback("a")
    with pytest.raises(RevisionNotFound, match="no revision"):
        await programs.rollback("a", "0" * 64)
    with pytest.raises(RevisionNotFound, match="8 digits"):
        await programs.rollback("a", made.head.revision[:7])


async def test_old_revisions_are_deleted_beyond_the_bound(
    programs: ProgramStore, store: KeyValue, pool: PoolKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program_records, "REVISIONS_KEPT", 3)
    for text in "12345":
        await programs.put("a", revision(text))
    kept = [revision(text).revision for text in "543"]
    assert [step.revision for step in await programs.revisions("a")] == kept
    prefix = pool.programs.revisions("a")
    blobs = {key for key in await all_keys(store, pool) if key.startswith(prefix)}
    assert blobs == {prefix + name for name in kept}
    with pytest.raises(RevisionNotFound):
        await programs.rollback("a", revision("1").revision)


async def test_only_the_named_program_is_deleted(
    programs: ProgramStore, store: KeyValue, pool: PoolKeys
) -> None:
    for name in ("a", "a_", "ab", "a.b", "A"):
        await programs.create(name, revision("1"))
        await programs.put(name, revision("2"))
    await programs.delete("a")
    assert [head.id for head in (await programs.page()).items] == ["A", "a.b", "a_", "ab"]
    left = await all_keys(store, pool)
    assert not any(key.endswith("/a") or "/a/" in key for key in left)
    assert len(left) == 1 + 4 * 4
    with pytest.raises(ProgramNotFound):
        await programs.delete("a")
    assert await programs.get("a") is None


@pytest.mark.parametrize("name", ["", "/", "a/b", "..", "a@b", "-a", "x" * 101, "é"])
async def test_what_is_not_an_id_reaches_no_key(programs: ProgramStore, name: str) -> None:
    for attempt in (
        programs.get(name),
        programs.delete(name),
        programs.create(name, revision("1")),
    ):
        with pytest.raises(InvalidName):
            await attempt


async def test_a_program_made_again_is_another(programs: ProgramStore) -> None:
    first = (await programs.create("a", revision("1"))).head
    await programs.delete("a")
    second = (await programs.create("a", revision("1"))).head
    assert second.uid != first.uid
    assert len(await programs.revisions("a")) == 1


async def test_a_program_larger_than_the_store_takes_leaves_no_trace(
    programs: ProgramStore, store: KeyValue, pool: PoolKeys
) -> None:
    with pytest.raises(ValueTooLarge):
        await programs.create("a", revision("x" * 1_600_000))
    assert await all_keys(store, pool) == set()


async def test_pages_have_each_program_once_with_filters(programs: ProgramStore) -> None:
    for number in range(25):
        await programs.create(f"p{number:02}", revision("1"), {"even": str(number % 2 == 0)})
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = await programs.page(after=after, limit=4, labels={"even": "True"})
        seen += [head.id for head in page.items]
        after = page.next
    assert seen == [f"p{number:02}" for number in range(0, 25, 2)]
    assert (await programs.page(limit=25)).next is None
    assert (await programs.page(limit=24)).next == "p23"
    assert (await programs.page(labels={"no": "such"})).items == []


@pytest.mark.parametrize(
    "bad",
    [b"", b"\xff\xfe", b"null", b'{"schema":1}', b'{"schema":2,"all":"new"}', b"[" * 5000],
)
async def test_one_bad_record_never_breaks_a_listing(
    programs: ProgramStore,
    store: KeyValue,
    pool: PoolKeys,
    caplog: pytest.LogCaptureFixture,
    bad: bytes,
) -> None:
    for name in ("a", "c"):
        await programs.create(name, revision("1"))
    await store.commit([Put(pool.programs.head("b"), bad)])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert [head.id for head in (await programs.page()).items] == ["a", "c"]
    assert len([line for line in caplog.messages if "heads/b" in line]) == 1
    with pytest.raises(UnreadableRecord, match="heads/b"):
        await programs.get("b")


async def test_a_newer_record_says_that_it_is_newer(
    programs: ProgramStore, store: KeyValue, pool: PoolKeys
) -> None:
    await store.commit([Put(pool.programs.head("b"), b'{"schema":2}')])
    with pytest.raises(UnreadableRecord, match="has schema 2; this version of AnyPod knows 1"):
        await programs.get("b")
    with pytest.raises(UnreadableRecord):
        await programs.put("b", revision("1"))


async def test_a_session_owns_its_programs_and_takes_them_along(
    programs: ProgramStore, store: KeyValue, pool: PoolKeys
) -> None:
    sessions = SessionStore(store, pool)
    owned = ProgramStore(store, pool, session="s")
    with pytest.raises(SessionEnded):
        await owned.create("a", revision("1"))
    await programs.create("a", revision("pool"))
    pin, _ = await sessions.create("s", "w1", "i1", 60)
    await sessions.create("s2", "w1", "i1", 60)
    head = (await owned.create("a", revision("1"))).head
    assert head.session == "s"
    await sessions.repin(pin, "w2", "i2")
    await owned.put("a", revision("2"))
    await owned.create("b", revision("1"))
    other = ProgramStore(store, pool, session="s2")
    await other.create("a", revision("3"))
    assert [head.id for head in (await owned.page()).items] == ["a", "b"]
    await sessions.end("s")
    assert (await owned.page()).items == []
    assert not any("/s/" in key for key in await all_keys(store, pool))
    assert (await programs.get("a")).revision == revision("pool").revision  # type: ignore[union-attr]
    assert (await other.get("a")).revision == revision("3").revision  # type: ignore[union-attr]
    with pytest.raises(SessionEnded):
        await owned.put("a", revision("4"))


async def test_confirmation_is_asked_when_another_cache_could_be_wrong(
    store: KeyValue, pool: PoolKeys
) -> None:
    asked: list[str] = []

    async def confirm() -> None:
        asked.append("now")

    programs = ProgramStore(store, pool, confirm=confirm)
    await programs.create("a", revision("1"))
    await programs.create("a", revision("1"))
    assert asked == []
    await programs.put("a", revision("2"))
    await programs.rollback("a")
    await programs.delete("a")
    assert len(asked) == 3
    await SessionStore(store, pool).create("s", "w1", "i1", 60)
    await ProgramStore(store, pool, confirm=confirm, session="s").create("a", revision("1"))
    assert len(asked) == 4
