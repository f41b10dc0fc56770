"""Jobs in the store, one property at a time; ``test_job_model`` has the orders of all of them."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from anypod.api.jobs import new_job_id
from anypod.store.job_records import STEPS_KEPT, Claim, Job, OpenJob, Printed, Progress
from anypod.store.job_view import JobView
from anypod.store.jobs import Ended, Held, JobStore
from anypod.store.keys import PoolKeys
from anypod.store.kv import Conflict, KeyValue, LeaseEnded, Put, ValueTooLarge
from anypod.store.programs import ProgramStore
from anypod.store.revisions import Origin, Revision, new_revision
from anypod.wire.messages import Code

NOW = datetime(2030, 1, 1, tzinfo=UTC)
KEEP = 3600.0


def job(**others: object) -> Job:
    given = {"id": new_job_id(), "program": "p", "revision": "ab" * 32, "timeout_seconds": 1.0}
    return Job(**(given | {"created_at": NOW} | others))  # type: ignore[arg-type]


async def claimed(store: KeyValue, pool: PoolKeys, given: Job, slot: int = 0) -> Held:
    jobs = JobStore(store, pool)
    accepted = await jobs.accept(given, b"{}")
    lease = await store.grant(60)
    running = accepted.to("running", NOW)
    return await jobs.claim(running, accepted.version, Claim(owner="g", slot=slot), lease)


async def test_all_that_it_takes_to_run_it_is_there(store: KeyValue, pool: PoolKeys) -> None:
    jobs, code = JobStore(store, pool), Code("python", {"main.py": "x"}, "main:main")
    given = job(labels={"a": "b"}, session="s", not_before=NOW, priority=-3)
    accepted = await jobs.accept(given, b'{"x": "\\ud800"}', code)
    loaded = await jobs.load(given.id)
    assert loaded is not None
    assert (loaded.job, loaded.inputs, loaded.code) == (accepted, b'{"x": "\\ud800"}', code)


async def test_only_one_of_many_claims(store: KeyValue, other: KeyValue, pool: PoolKeys) -> None:
    accepted = await JobStore(store, pool).accept(job(), b"{}")
    lease = await store.grant(60)
    claims = await asyncio.gather(
        *(
            JobStore(through, pool).claim(
                accepted, accepted.version, Claim(owner="g", slot=slot), lease
            )
            for slot in range(5)
            for through in (store, other)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(claim, Held) for claim in claims) == 1
    assert sum(isinstance(claim, Conflict) for claim in claims) == 9


async def test_a_slot_is_one_jobs(store: KeyValue, pool: PoolKeys) -> None:
    held = await claimed(store, pool, job(), slot=1)
    with pytest.raises(Conflict):
        await claimed(store, pool, job(), slot=1)
    await JobStore(store, pool).release(held, held.job)
    await claimed(store, pool, job(), slot=1)


async def test_what_is_put_back_waits_and_keeps_nobody_waiting(
    store: KeyValue, pool: PoolKeys
) -> None:
    jobs = JobStore(store, pool)
    held = await claimed(store, pool, job(), slot=0)
    await jobs.release(held, held.job.to("queued", NOW), 3600.0)
    view = JobView(pool.jobs, lambda _: None)

    async def look() -> list[OpenJob]:
        view.reset((await store.page(pool.jobs.watched)).entries)
        return list(view.may_run(NOW))

    assert await look() == []
    await claimed(store, pool, job(), slot=0)  # its slot is free
    loaded = await jobs.load(held.job.id)
    assert loaded is not None
    entry, lease = await jobs.entry(held.job.id), await store.grant(60)
    again, claim = loaded.job.to("running", NOW), Claim(owner="g", slot=1)
    with pytest.raises(Conflict):  # by one that has not seen the pause
        await jobs.claim(again, entry, claim, lease)
    pause = view.pause(held.job.id)
    held = await jobs.claim(again, entry, claim, lease, pause=pause)
    await look()
    assert view.pause(held.job.id) == 0
    await jobs.release(held, held.job.to("queued", NOW), 3600.0)
    # What is to be cancelled does not wait for that.
    await jobs.cancel(held.job.id, entry)
    assert [one.id for one in await look()] == [held.job.id]


async def test_a_claim_goes_with_its_lease(store: KeyValue, pool: PoolKeys) -> None:
    jobs = JobStore(store, pool)
    accepted = await jobs.accept(job(), b"{}")
    lease = await store.grant(60)
    claim = Claim(owner="g", slot=0)
    held = await jobs.claim(accepted.to("running", NOW), accepted.version, claim, lease)
    await store.revoke(lease)
    for late in (
        jobs.release(held, held.job),
        jobs.tell(held, Progress(done=1)),
        jobs.finish(held, Ended(held.job.to("succeeded", NOW), b"1"), KEEP),
    ):
        with pytest.raises(Conflict):
            await late
    with pytest.raises(LeaseEnded):
        await jobs.claim(held.job, accepted.version, claim, lease)
    again = await store.grant(60)
    assert (await jobs.claim(held.job, accepted.version, claim, again)).job.state == "running"


async def test_what_has_ended_keeps_its_result_for_a_time(store: KeyValue, pool: PoolKeys) -> None:
    jobs = JobStore(store, pool)
    held = await claimed(store, pool, job())
    await jobs.tell(held, Progress(done=1, total=2))
    ended = Ended(held.job.to("succeeded", NOW), b"1", Printed(stdout="said"))
    await jobs.finish(held, ended, KEEP)
    assert await jobs.result(held.job.id) == b"1"
    assert await jobs.printed(held.job.id) == Printed(stdout="said", version=held.job.version + 2)
    assert await jobs.load(held.job.id) is None
    watched = await store.page(pool.jobs.watched)
    assert watched.entries == []
    record = await store.get(pool.jobs.record(held.job.id))
    assert record is not None
    left = await store.time_left(record.lease)
    assert left is not None
    assert KEEP < left <= 2 * KEEP
    await store.revoke(record.lease)
    assert await jobs.get(held.job.id) is None
    # The next one gets another lease.
    held = await claimed(store, pool, job())
    await jobs.finish(held, Ended(held.job.to("succeeded", NOW), b"2"), KEEP)
    assert await jobs.result(held.job.id) == b"2"


async def test_what_is_too_large_changes_nothing(store: KeyValue, pool: PoolKeys) -> None:
    jobs, large = JobStore(store, pool), b"x" * 1_100_000
    given = job()
    with pytest.raises(ValueTooLarge):
        await jobs.accept(given, large)
    assert await jobs.get(given.id) is None
    held = await claimed(store, pool, given)
    with pytest.raises(ValueTooLarge):
        await jobs.finish(held, Ended(held.job.to("succeeded", NOW), large), KEEP)
    await jobs.finish(held, Ended(held.job.to("failed", NOW), b"{}"), KEEP)


async def test_what_is_accepted_with_it_holds_or_nothing(store: KeyValue, pool: PoolKeys) -> None:
    jobs, key, given = JobStore(store, pool), pool.once("ab" * 32), job()
    await store.commit([Put(key, b"another")])
    with pytest.raises(Conflict):
        await jobs.accept(given, b"{}", also=[Put(key, b"mine")], when=[(key, 0)])
    assert await jobs.get(given.id) is None


async def test_pages_have_the_latest_first_and_are_bounded(
    store: KeyValue, pool: PoolKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anypod.store.jobs.SCANNED", 4)
    jobs = JobStore(store, pool)
    ids = [f"j-{number:032x}" for number in range(10)]
    for number, id_ in enumerate(ids):
        await jobs.accept(job(id=id_, program="odd" if number % 2 else "even"), b"{}")
    page = await jobs.page(lambda _: True, after="", limit=3)
    assert ([one.id for one in page.items], page.next) == (ids[:3], ids[2])
    found, after, pages = [], "", 0
    while True:
        page = await jobs.page(lambda one: one.program == "odd", after=after, limit=100)
        found += [one.id for one in page.items]
        pages += 1
        if page.next is None:
            break
        after = page.next
    assert (found, pages) == (ids[1::2], 3)


async def test_later_ids_come_first() -> None:
    first = new_job_id()
    await asyncio.sleep(0.002)
    assert new_job_id() < first


def test_a_job_keeps_its_last_states_and_counts_the_others() -> None:
    one = job()
    for _ in range(STEPS_KEPT + 5):
        one = one.to("queued", NOW)
    assert (len(one.steps), one.forgotten) == (STEPS_KEPT, 5)


async def test_a_view_says_what_may_run_next(store: KeyValue, pool: PoolKeys) -> None:
    jobs = JobStore(store, pool)
    later = NOW + timedelta(seconds=1)
    given = {
        "first": job(),
        "late": job(not_before=later, priority=50),
        "urgent": job(priority=9),
        "session 1": job(session="s", priority=-5),
        "session 2": job(session="s", priority=9),
        "last": job(),
    }
    names = {one.id: name for name, one in given.items()}
    for one in given.values():
        await jobs.accept(one, b"{}")
    told: list[str] = []
    view = JobView(pool.jobs, told.append)

    async def look() -> list[str]:
        view.reset((await store.page(pool.jobs.watched)).entries)
        return [names[one.id] for one in view.may_run(NOW)]

    assert await look() == ["urgent", "first", "last", "session 1"]
    assert set(told) == set(names)
    assert next(names[one.id] for one in view.may_run(later)) == "late"
    # A job of the session runs: the next one still waits, until that has ended.
    entry, lease = await jobs.entry(given["session 1"].id), await store.grant(60)
    loaded = await jobs.load(given["session 1"].id)
    assert loaded is not None
    held = await jobs.claim(loaded.job.to("running", NOW), entry, Claim(owner="g", slot=0), lease)
    assert await look() == ["urgent", "first", "last"]
    await jobs.finish(held, Ended(held.job.to("succeeded", NOW), b"1"), KEEP)
    assert await look() == ["urgent", "session 2", "first", "last"]
    # What is to be cancelled need not wait for its time.
    await jobs.cancel(given["late"].id, await jobs.entry(given["late"].id))
    assert (await look())[0] == "late"


async def test_a_view_leaves_what_it_cannot_read_alone(store: KeyValue, pool: PoolKeys) -> None:
    jobs = JobStore(store, pool)
    good = await jobs.accept(job(), b"{}")
    newer = pool.jobs.open(new_job_id())
    await store.commit([Put(newer, msgspec.json.encode({"schema": 99, "id": "x"}))])
    view = JobView(pool.jobs, lambda _: None)
    view.reset((await store.page(pool.jobs.watched)).entries)
    assert [one.id for one in view.may_run(NOW)] == [good.id]


def revision(text: str, origin: Origin | None = None) -> Revision:
    return new_revision(Code("dspy", {"program.json": text}, "Predict"), origin=origin)


async def test_a_revision_is_written_with_the_end_of_the_job_that_found_it(
    store: KeyValue, pool: PoolKeys
) -> None:
    programs, jobs = ProgramStore(store, pool), JobStore(store, pool)
    parent = revision("{}")
    await programs.create("p", parent, {"team": "a"})
    held = await claimed(store, pool, job(task_of=parent.revision))
    origin = Origin(parent.revision, held.job.id, "BootstrapFewShot", "f1", 0.25, 0.5)
    found = revision('{"state":{}}', origin)
    following = await programs.following("p", found, parent.revision)
    assert following is not None
    assert await programs.following("p", found, found.revision) is None
    ended = Ended(held.job.to("succeeded", NOW), b"{}")
    await jobs.finish(held, ended, KEEP, also=following.writes, when=following.when)
    head = await programs.get("p")
    assert head is not None
    assert (head.revision, head.labels) == (found.revision, {"team": "a"})
    assert [step.origin for step in await programs.revisions("p")] == [origin, None]
    with pytest.raises(Conflict):
        await jobs.finish(held, ended, KEEP, also=following.writes, when=following.when)
    back = await programs.rollback("p")
    assert back.head.revision == parent.revision
    assert {step.origin for step in await programs.revisions("p")} == {origin, None}


async def test_neither_is_written_when_the_program_has_changed(
    store: KeyValue, pool: PoolKeys
) -> None:
    programs, jobs = ProgramStore(store, pool), JobStore(store, pool)
    parent, other = revision("{}"), revision('{"lm":{}}')
    await programs.create("p", parent)
    held = await claimed(store, pool, job(task_of=parent.revision))
    following = await programs.following("p", revision('{"state":{}}'), parent.revision)
    assert following is not None
    await programs.put("p", other)
    ended = Ended(held.job.to("succeeded", NOW), b"{}")
    with pytest.raises(Conflict):
        await jobs.finish(held, ended, KEEP, also=following.writes, when=following.when)
    head, now = await programs.get("p"), await jobs.get(held.job.id)
    assert head is not None
    assert now is not None
    assert (head.revision, now.state) == (other.revision, "running")
