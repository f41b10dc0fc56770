"""What a gateway lets go of runs nowhere any more when another one may have it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.engine import POOL, until
from tests.unit.gateway_engine.test_job_attempts import Scene, scene

from anypod.store.keys import PoolKeys
from anypod.wire.messages import Cancel, Failure, Result
from anypod_gateway.jobs import queue

KEYS = PoolKeys("default", POOL).jobs
REPEATABLE: dict[str, Any] = {"idempotent": True, "max_attempts": 3}
LONG_GRACE: dict[str, Any] = {"limits": {"interruptGraceSeconds": 60}}
PATIENCE = 30.0


async def is_claimed(it: Scene, job: str) -> bool:
    return await it.front.store.get(KEYS.claim(job)) is not None


async def test_a_gateway_that_stops_keeps_the_claim_of_what_may_still_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease says when that must be over."""
    monkeypatch.setattr(queue, "CLOSE_SECONDS", 0.2)
    async with scene(tmp_path, **LONG_GRACE) as it:
        job = await it.submit(**REPEATABLE)
        await it.come()
        await it.front.pool.jobs.close()
        await it.worker.next(Cancel)
        assert await is_claimed(it, job)


async def test_a_gateway_that_stops_leaves_at_once_what_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the grace is."""
    monkeypatch.setattr(queue, "CLOSE_SECONDS", PATIENCE)
    async with scene(tmp_path, **LONG_GRACE) as it:
        job = await it.submit(**REPEATABLE)
        execute = await it.come()
        closing = asyncio.ensure_future(it.front.pool.jobs.close())
        await it.worker.next(Cancel)
        assert await is_claimed(it, job)
        stopped = Failure("cancelled", "it was told to")
        await it.worker.send(Result(execute.id, 0.0, failure=stopped))
        async with asyncio.timeout(PATIENCE / 2):
            await closing
        assert not await is_claimed(it, job)


async def test_a_gateway_that_stops_leaves_at_once_what_no_worker_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "CLOSE_SECONDS", PATIENCE)
    async with scene(tmp_path, **LONG_GRACE) as it:
        job = await it.submit(**REPEATABLE)
        await it.worker.refuse(await it.come(), "not-ready")
        await until(lambda: it.front.pool.queued() == 1)
        async with asyncio.timeout(PATIENCE / 2):
            await it.front.pool.jobs.close()
        assert not await is_claimed(it, job)


async def test_what_was_claimed_by_a_lease_that_ended_is_let_go_though_there_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "RENEW_SECONDS", 0.2)
    monkeypatch.setattr(queue, "CLOSE_SECONDS", 0.2)
    async with scene(tmp_path) as it:
        await it.submit(**REPEATABLE)
        execute = await it.come()
        lease = it.front.pool.jobs.lease
        ended = await lease.get()
        await it.front.store.revoke(ended)
        lease.ended(ended)  # another claim has learned it first
        assert await lease.get() != ended
        assert (await it.worker.next(Cancel)).id == execute.id
