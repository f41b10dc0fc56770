"""Jobs through both clients, against a real gateway."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.jobs import NOTE
from tests.support.rig import Rig, pool_of, rig

from anypod.client import (
    AsyncClient,
    Client,
    Conflict,
    JobEvent,
    NotFound,
    ProgramFailed,
    Refused,
    TimedOut,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    pool = pool_of(executors=2, jobs={"concurrency": 2})
    async with rig(tmp_path_factory.mktemp("jobs"), pool=pool) as started:
        await started.gateway.create(NOTE, "note")
        yield started


def states(events: list[JobEvent]) -> list[tuple[int | None, str]]:
    return [(event.number, event.data["state"]) for event in events if event.kind == "state"]


async def test_the_blocking_client_submits_waits_and_reads(made: Rig, tmp_path: Path) -> None:
    await asyncio.to_thread(_submit_wait_and_read, made.gateway.url, str(tmp_path / "log"))


def _submit_wait_and_read(url: str, file: str) -> None:
    with Client(url) as client:
        job = client.submit("note", {"file": file, "name": "a"}, priority=3, labels={"by": "sync"})
        assert job.result(timeout=60).outputs == "ran a"
        assert job.logs().stdout == "running a\n"
        found = client.job(job.id).get()
        assert (found.state, found.priority, found.labels) == ("succeeded", 3, {"by": "sync"})
        assert [one.id for one in client.jobs.list(labels={"by": "sync"})] == [job.id]
        told = list(job.events())
        assert states(told) == [(1, "queued"), (2, "running"), (3, "succeeded")]
        assert states(list(job.events(after=2))) == [(3, "succeeded")]
        assert list(job.events(after=3)) == []
        assert job.cancel().state == "succeeded"
        job.delete()
        with pytest.raises(NotFound):
            job.get()
        own = client.submit_source("def main(): return 5")
        assert own.result().outputs == 5
        in_session = client.session("s-1").submit("note", {"file": file, "name": "b"})
        assert in_session.wait().session == "s-1"


async def test_the_other_client_submits_waits_and_reads(made: Rig, tmp_path: Path) -> None:
    file = str(tmp_path / "log")
    async with AsyncClient(made.gateway.url) as client:
        job = await client.submit("note", {"file": file, "name": "a"}, labels={"by": "async"})
        assert (await job.result(timeout=60)).outputs == "ran a"
        assert (await job.logs()).stdout == "running a\n"
        assert [one.id async for one in client.jobs.list(labels={"by": "async"})] == [job.id]
        told = [event async for event in job.events()]
        assert states(told) == [(1, "queued"), (2, "running"), (3, "succeeded")]
        assert [event async for event in job.events(after=3)] == []
        await job.delete()
        with pytest.raises(NotFound):
            await job.get()
        own = await client.submit_source("def main(): return 5")
        assert (await own.result()).outputs == 5


async def test_a_result_raises_what_the_run_would_have_raised(made: Rig, tmp_path: Path) -> None:
    async with AsyncClient(made.gateway.url) as client:
        failed = await client.submit("note", {"file": str(tmp_path / "log"), "fail_first": 9})
        with pytest.raises(ProgramFailed, match="as it was told"):
            await failed.result()
        later = datetime.now(UTC) + timedelta(days=1)
        waiting = await client.submit("note", {"file": "x"}, not_before=later)
        with pytest.raises(Conflict, match="queued"):
            await waiting.result(timeout=0)
        with pytest.raises(TimedOut, match="has not ended"):
            await waiting.wait(timeout=0.01)
        assert (await waiting.cancel()).state == "cancelled"
        with pytest.raises(Conflict, match="cancelled"):
            await waiting.result()


async def test_the_client_says_what_is_wrong_with_a_job(made: Rig) -> None:
    async with AsyncClient(made.gateway.url) as client:
        with pytest.raises(Refused, match="idempotent"):
            await client.submit("note", {"file": "x"}, max_attempts=2)
        with pytest.raises(NotFound):
            await client.job("j-none").get()


async def test_one_key_is_one_job(made: Rig, tmp_path: Path) -> None:
    inputs = {"file": str(tmp_path / "log")}
    async with AsyncClient(made.gateway.url) as client:
        jobs = [await client.submit("note", inputs, idempotency_key="once") for _ in range(2)]
        assert jobs[0].id == jobs[1].id
