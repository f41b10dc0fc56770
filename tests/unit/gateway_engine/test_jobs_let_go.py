"""What a gateway lets go of runs nowhere any more when another one may have it."""

from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway_engine.test_job_attempts import scene

from anypod.wire.messages import Cancel
from anypod_gateway.jobs import queue

REPEATABLE: dict[str, Any] = {"idempotent": True, "max_attempts": 3}


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
