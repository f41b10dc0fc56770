"""Jobs that have ended cost nothing: a list reads a page, a run and a start read none."""

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.figures import Figure
from tests.support.rig import Gateway, Rig, pool_of, rig

from anypod.api.jobs import new_job_id
from anypod.store.job_records import Job
from anypod.store.keys import PoolKeys
from anypod.store.kv import Put
from anypod.store.open import open_store
from anypod.store.records import encode

JOBS, AT_LENGTH = 20_000, 100_000
AT_ONCE = 50
NOW = datetime(2030, 1, 1, tzinfo=UTC)


async def fill(url: str, count: int) -> None:
    """With jobs that have ended, and their results."""
    store = await asyncio.to_thread(open_store, url)
    keys = PoolKeys("default", "default").jobs
    lease = await store.grant(86_400)
    for _ in range(count // AT_ONCE):
        writes = []
        for _ in range(AT_ONCE):
            job = Job(
                id=new_job_id(),
                program="p",
                revision="ab" * 32,
                timeout_seconds=60,
                created_at=NOW,
                status=200,
            )
            for state in ("queued", "running", "succeeded"):
                job = job.to(state, NOW)
            writes.append(Put(keys.record(job.id), encode(job), lease))
            writes.append(Put(keys.result(job.id), b'{"outputs":1}', lease))
        await store.commit(writes)
    await store.close()


async def reads(gateway: Gateway) -> int:
    """Pages that it has read from the store so far."""
    metrics = (await gateway.ask("GET", "//metrics")).body.decode()
    pattern = r'anypod_store_seconds_count\{operation="page",outcome="ok"\} (\d+)'
    found = re.search(pattern, metrics)
    return int(found[1]) if found is not None else 0


async def started(made: Rig) -> int:
    """Pages that a start takes."""
    gateway = await made.add_gateway()
    return await reads(gateway)


@pytest.mark.timeout(600)
async def test_what_has_ended_is_read_by_the_page(
    tmp_path: Path, figure: Figure, at_length: bool
) -> None:
    jobs = AT_LENGTH if at_length else JOBS
    async with rig(tmp_path, pool=pool_of()) as made:
        await made.gateway.create("def main() -> int:\n    return 1\n", "p")
        at_a_start = await started(made)
        await fill(made.store, jobs)
        assert await started(made) == at_a_start
        gateway, loop = made.gateway, asyncio.get_running_loop()
        before = await reads(gateway)
        assert (await gateway.run("p")).outputs == 1
        assert await reads(gateway) == before
        begun = loop.time()
        page = (await gateway.ask("GET", "/jobs?limit=100")).document
        figure(f"a page of 100 of {jobs} jobs: {1000 * (loop.time() - begun):.0f} ms")
        assert len(page["items"]) == 100
        assert await reads(gateway) == before + 1
        later = (await gateway.ask("GET", f"/jobs?after={page['next']}")).document
        assert later["items"][0]["id"] > page["items"][-1]["id"]
        # A filter looks at so many, and goes on when it is asked to.
        none = (await gateway.ask("GET", "/jobs?state=lost")).document
        assert none["items"] == []
        assert none["next"] is not None
