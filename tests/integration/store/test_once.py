"""What a key is bound to is written by one only, and outlives who wrote it."""

import asyncio
import itertools

import pytest

from anypod.store.keys import PoolKeys
from anypod.store.kv import Conflict, KeyValue, ValueTooLarge
from anypod.store.once import Answer, OnceStore, Owner, Run

DIGEST = "ab" * 32
KEEP = 3600.0
_pools = itertools.count()


@pytest.fixture
def pool() -> PoolKeys:
    return PoolKeys("once", f"p{next(_pools)}")


def run(**others: object) -> Run:
    given = {"fingerprint": "f", "owner": "ab" * 8, "execution": "x-1", **others}
    return Run(**given)  # type: ignore[arg-type]


async def test_only_one_can_begin(store: KeyValue, other: KeyValue, pool: PoolKeys) -> None:
    begun = await asyncio.gather(
        *(
            OnceStore(through, pool).put(DIGEST, run(execution=f"x-{number}"), keep_seconds=KEEP)
            for number in range(8)
            for through in (store, other)
        ),
        return_exceptions=True,
    )
    (first,) = (one for one in begun if isinstance(one, Run))
    assert all(isinstance(one, Conflict) for one in begun if one is not first)
    assert await OnceStore(other, pool).get(DIGEST) == first


async def test_an_answer_is_written_over_what_was_begun_and_over_nothing_else(
    store: KeyValue, other: KeyValue, pool: PoolKeys
) -> None:
    here, there = OnceStore(store, pool), OnceStore(other, pool)
    begun = await here.put(DIGEST, run(), keep_seconds=KEEP)
    taken_over = await there.put(DIGEST, run(version=begun.version), keep_seconds=KEEP)
    late = run(version=begun.version, answer=Answer(200, body="late"))
    with pytest.raises(Conflict):
        await here.put(DIGEST, late, keep_seconds=KEEP)
    with pytest.raises(Conflict):
        await here.forget(DIGEST, begun)
    kept = run(version=taken_over.version, answer=Answer(200, "A: b\r\n", "{}"))
    kept = await there.put(DIGEST, kept, keep_seconds=KEEP)
    assert await here.get(DIGEST) == kept
    await here.forget(DIGEST, kept)
    assert await there.get(DIGEST) is None


async def test_an_answer_above_what_the_store_takes_is_refused_and_the_record_stays(
    store: KeyValue, pool: PoolKeys
) -> None:
    runs = OnceStore(store, pool)
    begun = await runs.put(DIGEST, run(), keep_seconds=KEEP)
    large = run(version=begun.version, answer=Answer(200, body="x" * 1_100_000))
    with pytest.raises(ValueTooLarge):
        await runs.put(DIGEST, large, keep_seconds=KEEP)
    assert await runs.get(DIGEST) == begun


async def test_an_owner_is_alive_until_its_end_and_its_runs_stay(
    store: KeyValue, other: KeyValue, pool: PoolKeys
) -> None:
    owner, there = Owner(store, pool), OnceStore(other, pool)
    assert not await there.is_alive(owner.name)
    await owner.begin()
    await owner.begin()
    await owner.renew()
    assert await there.is_alive(owner.name)
    begun = await OnceStore(store, pool).put(DIGEST, run(owner=owner.name), keep_seconds=KEEP)
    await owner.end()
    assert not await there.is_alive(owner.name)
    assert await there.get(DIGEST) == begun


async def test_an_owner_whose_lease_was_lost_is_alive_again_when_it_renews(
    store: KeyValue, pool: PoolKeys
) -> None:
    owner, runs = Owner(store, pool), OnceStore(store, pool)
    await owner.begin()
    await store.revoke(owner._lease)
    assert not await runs.is_alive(owner.name)
    await owner.renew()
    assert await runs.is_alive(owner.name)


async def test_records_go_when_their_time_is_over(store: KeyValue, pool: PoolKeys) -> None:
    """They share a lease, and a lost one is no obstacle to the next."""
    runs = OnceStore(store, pool)
    await runs.put(DIGEST, run(), keep_seconds=KEEP)
    await store.revoke(runs._leases._lease)
    assert await runs.get(DIGEST) is None
    again = await runs.put(DIGEST, run(), keep_seconds=KEEP)
    assert await runs.get(DIGEST) == again
