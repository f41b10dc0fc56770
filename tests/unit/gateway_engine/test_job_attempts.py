"""What becomes of a job, by what a worker says of its attempts; the test plays the worker."""

import json
import math
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.engine import Gateway, Site, gateway, manifest, site, until
from tests.support.scripted_worker import ScriptedWorker, load, scripted_worker
from tests.support.worker import code_of, revision_of

from anypod.api.jobs import new_job_id
from anypod.store.checks import Write
from anypod.store.job_records import Job
from anypod.store.jobs import JobStore
from anypod.store.kv import KeyValue, Put, StoreUnavailable
from anypod.store.observed import ObservedStore
from anypod.wire.messages import (
    Draining,
    Execute,
    Failure,
    Output,
    Progress,
    Refused,
    Result,
    Usage,
)
from anypod_gateway.jobs.work import (
    LONGEST_PATIENCE,
    LONGEST_PAUSE_UNBEGUN,
    pause_after,
    pause_unbegun,
)
from anypod_gateway.roster import Roster

USAGE = Usage("fast", calls=2, prompt_tokens=30, completion_tokens=5, cost=0.25)
CODE = code_of("async def main(): ...")


class Scene:
    """One worker, and the gateway that runs jobs on it."""

    def __init__(self, place: Site, worker: ScriptedWorker, front: Gateway) -> None:
        self.place = place
        self.worker = worker
        self.front = front

    async def submit(self, **how: Any) -> str:
        """The job's id."""
        now = datetime.now(UTC)
        job = Job(
            id=new_job_id(),
            program="",
            revision=revision_of(CODE),
            timeout_seconds=60,
            created_at=now,
            **how,
        )
        accepted = await self.front.pool.jobs.accept(job.to("queued", now), b"{}", CODE)
        return accepted.id

    async def change(self, **spec: Any) -> None:
        """The pool's manifest is another now."""
        self.place.manifest = manifest(**spec)
        await self.place.write()
        await until(lambda: self.front.pool.manifest == self.place.manifest)

    async def come(self) -> Execute:
        return await self.worker.next(Execute)

    async def fail(self, execute: Execute, type_: str, **more: Any) -> None:
        failure = Failure(type_, "as the test has it", **more)
        await self.worker.send(Result(execute.id, 0.0, failure=failure, usage=USAGE))

    async def ended(self, id_: str) -> Job:
        await until(lambda: id_ not in self.front.pool.jobs.view.open)
        found = await self.front.pool.jobs.store.get(id_)
        assert found is not None
        return found

    async def result(self, id_: str) -> Any:
        return json.loads(await self.front.pool.jobs.store.result(id_) or b"null")


@asynccontextmanager
async def scene(directory: Path, *, executors: int = 2, **spec: Any) -> AsyncIterator[Scene]:
    async with (
        site(directory, **spec) as place,
        scripted_worker("w1", executors=executors, groups=True) as worker,
    ):
        await place.add(worker)
        async with gateway(place) as front:
            await front.sees("w1")
            yield Scene(place, worker, front)


async def test_a_result_tells_what_was_asked_of_an_lm(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        told = {"lm": "fast", "calls": 2, "promptTokens": 30, "completionTokens": 5, "cost": 0.25}
        job = await it.submit()
        await it.worker.answer(await it.come(), b"42", usage=USAGE)
        await it.ended(job)
        result = await it.result(job)
        assert (result["outputs"], result["execution"]["usage"]) == (42, told)
        job = await it.submit()
        await it.fail(await it.come(), "model-output-unusable")
        await it.ended(job)
        assert (await it.result(job))["usage"] == told


async def test_a_result_that_the_store_takes_is_kept_whatever_was_printed(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        job = await it.submit()
        outputs, printed = (
            b'"' + b"x" * 1_000_000 + b'"',
            Output("\x01" * 200_000, "\x01" * 200_000),
        )
        await it.worker.answer(await it.come(), outputs, printed=printed)
        assert (await it.ended(job)).state == "succeeded"
        assert (await it.result(job))["outputs"] == "x" * 1_000_000


async def test_what_was_printed_is_left_out_first(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        job = await it.submit()
        failure, printed = (
            Failure("program-error", "x" * 600_000),
            Output("y" * 131_072, "z" * 131_072),
        )
        await it.worker.send(Result((await it.come()).id, 0.0, failure=failure, printed=printed))
        assert (await it.ended(job)).problem == "program-error"
        kept = await it.front.pool.jobs.store.printed(job)
        assert kept is not None
        assert (kept.stdout, kept.stderr, kept.cut_bytes) == ("", "", 262_144)


async def test_a_job_whose_end_cannot_be_written_ends_and_leaves_its_place(tmp_path: Path) -> None:
    async with scene(tmp_path, jobs={"concurrency": 1}) as it:
        jobs = [await it.submit(), await it.submit()]
        failure = Failure("program-error", "as the test has it", traceback="x" * 2_000_000)
        await it.worker.send(Result((await it.come()).id, 0.0, failure=failure))
        found = await it.ended(jobs[0])
        assert (found.state, found.problem) == ("failed", "internal-error")
        assert (await it.result(jobs[0]))["status"] == 500
        await it.worker.answer(await it.come())
        assert (await it.ended(jobs[1])).state == "succeeded"


@pytest.mark.parametrize("said", [math.nan, math.inf, -math.inf], ids=str)
async def test_a_number_that_is_none_leaves_the_job_readable(tmp_path: Path, said: float) -> None:
    async with scene(tmp_path) as it:
        job = await it.submit()
        execute = await it.come()
        await it.worker.send(Progress(execute.id, said, None))
        usage = Usage("fast", 1, cost=said)
        await it.worker.send(Result(execute.id, said, said, outputs=b"42", usage=usage))
        found = await it.ended(job)
        assert (found.state, found.run_seconds, found.progress) == ("succeeded", 0.0, None)
        told = (await it.result(job))["execution"]
        assert (told["runSeconds"], told["usage"]["calls"]) == (0, 1)
        assert math.isfinite(told["queueSeconds"])


@pytest.mark.parametrize(
    "type_", ["bad-request", "lm-auth", "lm-refused", "lm-context-window", "invalid-inputs"]
)
async def test_what_would_be_refused_again_is_not_paid_for_again(
    tmp_path: Path, type_: str
) -> None:
    async with scene(tmp_path) as it:
        job = await it.submit(idempotent=True, max_attempts=3)
        await it.fail(await it.come(), type_)
        found = await it.ended(job)
        assert (found.state, found.problem, found.attempts) == ("failed", type_, 1)


@pytest.mark.parametrize("type_", ["lm-rate-limited", "lm-unavailable", "program-error"])
async def test_what_may_pass_is_tried_again(tmp_path: Path, type_: str) -> None:
    async with scene(tmp_path) as it:
        job = await it.submit(idempotent=True, max_attempts=2)
        await it.fail(await it.come(), type_, retry_after=1)
        await it.worker.answer(await it.come())
        found = await it.ended(job)
        assert (found.state, found.attempts) == ("succeeded", 2)


async def test_a_job_that_another_execution_took_along_is_run_again_at_once(
    tmp_path: Path,
) -> None:
    """Its worker says so, and is well: nothing of it is left there that would be waited for."""
    async with scene(tmp_path) as it:
        job = await it.submit(idempotent=True, max_attempts=3)
        for _ in range(2):
            await it.fail(await it.come(), "worker-lost")
        await it.worker.answer(await it.come())
        found = await it.ended(job)
        assert (found.state, found.attempts) == ("succeeded", 3)


@pytest.mark.parametrize("leaves", [True, False])
async def test_what_may_run_on_is_outlived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    """Of a worker that goes, or whose link broke, nobody knows what still runs there."""
    asked: list[str] = []
    is_gone = False

    def ask(_: Roster, worker: str) -> bool:
        asked.append(worker)
        return is_gone

    monkeypatch.setattr(Roster, "is_gone", ask)
    async with scene(tmp_path, limits={"interruptGraceSeconds": 0.1}) as it:
        job = await it.submit(idempotent=True, max_attempts=3)
        execute = await it.come()
        if leaves:
            await it.worker.send(Draining())
            await it.fail(execute, "worker-lost")
        else:
            it.worker.drop()
        await until(lambda: len(asked) > 2)
        assert set(asked) == {"w1"}
        assert not it.worker.received
        is_gone = True
        if not leaves:
            await it.worker.answer(await it.come())
            assert (await it.ended(job)).attempts == 2


class Unheard(ObservedStore):
    """Its answer to one commit of a claim is lost, written or not."""

    def __init__(self, store: KeyValue, *, is_written: bool) -> None:
        super().__init__(store, lambda *_: None)
        self._is_written = is_written
        self.is_lost = False

    async def commit(self, writes: Sequence[Write], *, when: Sequence[tuple[str, int]] = ()) -> int:
        if self.is_lost or not any(isinstance(one, Put) and one.lease for one in writes):
            return await super().commit(writes, when=when)
        self.is_lost = True
        if self._is_written:
            await super().commit(writes, when=when)
        raise StoreUnavailable("its answer was lost")


@pytest.mark.parametrize("is_written", [False, True])
async def test_a_claim_that_the_store_said_nothing_of_is_lived_up_to(
    tmp_path: Path, is_written: bool
) -> None:
    async with scene(tmp_path) as it:
        pool = it.front.pool
        store = Unheard(it.front.store, is_written=is_written)
        pool.jobs.store = JobStore(store, pool._keys)
        job = await it.submit()
        await it.worker.answer(await it.come())
        found = await it.ended(job)
        assert (store.is_lost, found.state, found.attempts) == (True, "succeeded", 1)


async def test_what_cannot_begin_leaves_its_place_to_others(tmp_path: Path) -> None:
    """There is one place, and the session of the first is busy for as long as the second waits."""
    limits: dict[str, Any] = {"jobs": {"concurrency": 1}, "sessions": {"onBusy": "fail"}}
    async with scene(tmp_path, **limits) as it:
        first = await it.submit(session="s")
        refused = await it.come()
        second = await it.submit()
        while refused.session is not None:
            await it.worker.send(Refused(refused.id, "session-busy"))
            refused = await it.come()
        await it.worker.answer(refused)
        assert (await it.ended(second)).attempts == 1
        await it.worker.answer(await it.come())
        found = await it.ended(first)
        assert (found.state, found.attempts) == ("succeeded", 1)
        states = [step.state for step in found.steps]
        assert states[:3] == ["queued", "running", "queued"]


def test_what_cannot_begin_is_looked_at_ever_more_seldom() -> None:
    pauses = [pause_unbegun(times) for times in (1, 2, 3, 5, 100, 5000)]
    assert pauses == [0.5, 1, 2, 8, LONGEST_PAUSE_UNBEGUN, LONGEST_PAUSE_UNBEGUN]


def test_the_next_attempt_waits_as_long_as_the_last_one_was_told() -> None:
    assert [pause_after(attempts, None) for attempts in (1, 2, 3, 7)] == [1, 2, 4, 60]
    assert pause_after(1, 30) == 30
    assert pause_after(7, 30) == 60
    assert pause_after(1, 86_400) == LONGEST_PATIENCE


@pytest.mark.parametrize(("before", "now", "sizes"), [(100, 2, [1, 2]), (2, 100, [3])])
async def test_a_job_shares_an_executor_as_its_pool_allows_when_it_begins(
    tmp_path: Path, before: int, now: int, sizes: list[int]
) -> None:
    async with scene(tmp_path, executors=8, concurrency=before) as it:
        await it.worker.send(load(ready=False))
        await it.front.sees()
        jobs = [await it.submit(concurrency=50) for _ in range(3)]
        await it.change(concurrency=now)
        await it.worker.send(load())
        came = [await it.come() for _ in range(3)]
        assert sorted(Counter(execute.group for execute in came).values()) == sizes
        for execute in came:
            await it.worker.answer(execute)
        for job in jobs:
            assert (await it.ended(job)).state == "succeeded"


async def test_jobs_that_wait_share_an_executor_and_leave_the_others(tmp_path: Path) -> None:
    """Jobs may have one executor of these two."""
    async with scene(tmp_path, executors=2) as it:
        jobs = [await it.submit(concurrency=10) for _ in range(12)]
        came = [await it.come() for _ in range(10)]
        assert len({execute.group for execute in came}) == 1
        assert it.front.pool.in_flight() == 1
        await until(lambda: it.front.pool.jobs.view.running == 10)
        assert not it.worker.received
        for execute in came:
            await it.worker.answer(execute)
        for _ in range(2):
            await it.worker.answer(await it.come())
        for job in jobs:
            assert (await it.ended(job)).state == "succeeded"
