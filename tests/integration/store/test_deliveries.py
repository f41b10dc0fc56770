"""Ends of jobs that are to be told, in the store and as gateways see them."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from anypod.api.jobs import new_job_id
from anypod.store.deliveries import DeliveryStore, DeliveryView, Telling
from anypod.store.job_records import Delivery, Job, Webhook
from anypod.store.jobs import Ended, JobStore
from anypod.store.keys import PoolKeys
from anypod.store.kv import Conflict, KeyValue

NOW = datetime(2030, 1, 1, tzinfo=UTC)
KEEP = 3600.0
URL = "https://example.com/hush"
ME = "g1/1"


async def ended(store: KeyValue, pool: PoolKeys, caller: str = "", url: str = URL) -> Job:
    """A job whose end is to be told."""
    jobs = JobStore(store, pool)
    given = Job(
        id=new_job_id(),
        program="p",
        revision="ab" * 32,
        timeout_seconds=1.0,
        created_at=NOW,
        caller=caller,
        webhook=Webhook(url),
    )
    accepted = await jobs.accept(given, b"{}")
    end = Ended(accepted.to("cancelled", NOW, finished_at=NOW), b"{}")
    return await jobs.end(end, await jobs.entry(given.id), KEEP)


async def view_of(store: KeyValue, pool: PoolKeys) -> DeliveryView:
    made = DeliveryView(pool.jobs, lambda: None)
    made.reset((await store.page(pool.jobs.deliveries)).entries)
    return made


def due_in(view: DeliveryView) -> list[Delivery]:
    return [one for lane in view.due() for one in lane]


async def claimed(store: KeyValue, pool: PoolKeys, lease: int) -> Telling:
    (due,) = due_in(await view_of(store, pool))
    found = await DeliveryStore(store, pool.jobs).claim(due, ME, lease)
    assert found is not None
    return found


async def test_an_end_is_there_to_be_told_from_the_commit_that_made_it(
    store: KeyValue, pool: PoolKeys
) -> None:
    job = await ended(store, pool)
    assert job.webhook == Webhook(URL, "pending")
    (due,) = due_in(await view_of(store, pool))
    assert (due.job, due.origin) == (job.id, "https://example.com")
    entries = (await store.page(pool.jobs.deliveries)).entries
    assert all(b"hush" not in entry.value for entry in entries)


async def test_only_one_of_many_claims_it(store: KeyValue, other: KeyValue, pool: PoolKeys) -> None:
    await ended(store, pool)
    lease = await store.grant(60)
    (due,) = due_in(await view_of(store, pool))
    claims: list[Any] = await asyncio.gather(
        *(
            DeliveryStore(through, pool.jobs).claim(due, ME, lease)
            for _ in range(3)
            for through in (store, other)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(claim, Telling) for claim in claims) == 1
    assert sum(isinstance(claim, Conflict) for claim in claims) == 5
    assert due_in(await view_of(store, pool)) == []


async def test_a_claim_goes_with_its_lease_or_is_given_back(
    store: KeyValue, pool: PoolKeys
) -> None:
    job = await ended(store, pool)
    lease = await store.grant(60)
    await claimed(store, pool, lease)
    await store.revoke(lease)
    telling = await claimed(store, pool, await store.grant(60))
    assert (await view_of(store, pool)).claimed_by(ME) == [(job.id, telling.claim)]
    assert (await view_of(store, pool)).claimed_by("g1/2") == []
    deliveries = DeliveryStore(store, pool.jobs)
    await deliveries.release(job.id, telling.claim - 1)
    assert (await view_of(store, pool)).claimed_by(ME)
    await deliveries.release(job.id, telling.claim)
    assert (await view_of(store, pool)).claimed_by(ME) == []


async def test_what_came_of_it_stays_with_the_job(store: KeyValue, pool: PoolKeys) -> None:
    job = await ended(store, pool)
    kept = await store.get(pool.jobs.record(job.id))
    assert kept is not None
    deliveries, lease = DeliveryStore(store, pool.jobs), await store.grant(60)
    telling = await claimed(store, pool, lease)
    failed = msgspec.structs.replace(telling.webhook, attempts=1, problem="no")
    await deliveries.settle(telling, failed, 3600.0)
    view = await view_of(store, pool)
    assert (len(view), due_in(view), view.claimed_by(ME)) == (1, [], [])
    now = await JobStore(store, pool).get(job.id)
    assert now is not None
    assert (now.state, now.webhook) == ("cancelled", failed)
    for key in (pool.jobs.record(job.id), pool.jobs.delivery(job.id)):
        entry = await store.get(key)
        assert entry is not None
        assert entry.lease == kept.lease, "it would stay for longer than its job"


async def test_nothing_is_left_of_what_was_told_or_deleted(store: KeyValue, pool: PoolKeys) -> None:
    deliveries, jobs = DeliveryStore(store, pool.jobs), JobStore(store, pool)
    lease = await store.grant(60)
    await ended(store, pool)
    telling = await claimed(store, pool, lease)
    await deliveries.settle(telling, Webhook(URL, "delivered", 1), None)
    assert (await store.page(pool.jobs.deliveries)).entries == []
    gone = await ended(store, pool)
    (due,) = due_in(await view_of(store, pool))
    telling = await claimed(store, pool, lease)
    await jobs.delete(gone)
    await deliveries.settle(telling, Webhook(URL, "pending", 1), 1.0)
    assert (await store.page(pool.jobs.deliveries)).entries == []
    assert await jobs.get(gone.id) is None
    assert await deliveries.claim(due, ME, lease) is None


async def test_a_watch_that_begins_anew_does_not_begin_a_pause_anew(
    store: KeyValue, pool: PoolKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ended(store, pool)
    telling = await claimed(store, pool, await store.grant(60))
    await DeliveryStore(store, pool.jobs).settle(telling, telling.webhook, 3600.0)
    entries = (await store.page(pool.jobs.deliveries)).entries
    view, clock = DeliveryView(pool.jobs, lambda: None), [0.0]
    monkeypatch.setattr("anypod.store.deliveries.time.monotonic", lambda: clock[0])
    view.reset(entries)
    clock[0] = 3599.0
    view.reset(entries)
    assert due_in(view) == []
    clock[0] = 3600.0
    assert [one.job for one in due_in(view)] == [telling.job.id]


async def test_what_is_due_is_apart_by_caller_and_origin(store: KeyValue, pool: PoolKeys) -> None:
    other = "https://example.org/x"
    given = [("ada", URL), ("bob", URL), ("ada", URL), ("ada", other)]
    jobs = [(await ended(store, pool, caller, url)).id for caller, url in given]
    view = await view_of(store, pool)
    lanes = [{one.job for one in lane} for lane in view.due()]
    assert sorted(map(sorted, lanes)) == sorted(
        sorted(jobs[n] for n in lane) for lane in ([0, 2], [1], [3])
    )
    assert [view.of(caller) for caller in ("ada", "bob", "nobody")] == [3, 1, 0]
    deliveries, lease = DeliveryStore(store, pool.jobs), await store.grant(60)
    for one in due_in(view):
        telling = await deliveries.claim(one, ME, lease)
        assert telling is not None
        await deliveries.settle(telling, telling.webhook, 3600.0 if one.job == jobs[0] else None)
    view = await view_of(store, pool)
    assert (view.due(), view.of("ada"), view.of("bob")) == ([], 1, 0), "a pause lost its caller"
