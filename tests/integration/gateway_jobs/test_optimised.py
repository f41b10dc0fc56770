"""What an optimisation found is written with its job's end: once, or not at all."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from anypod.api.jobs import new_job_id
from anypod.dspy import spec, tasks
from anypod.resources import WorkerPoolSpec
from anypod.store.job_records import Claim, Job
from anypod.store.jobs import JobStore
from anypod.store.keys import PoolKeys
from anypod.store.kv import Delete, KeyValue, StoreUnavailable
from anypod.store.open import open_store
from anypod.store.programs import ProgramStore
from anypod.store.revisions import Revision, new_revision
from anypod.wire.messages import Checked, Code
from anypod_gateway.executions import ExecutionAnswer, ExecutionInfo, ExecutionRequest
from anypod_gateway.jobs.work import Revised, Surroundings, Work
from anypod_gateway.optimised import Optimised

KEYS = PoolKeys("default", "default")
POOL = WorkerPoolSpec.model_validate({"replicas": 1, "lms": [{"name": "fast", "model": "x/fast"}]})
STATE = {"self": {"instructions": "Be brief."}}
LM_CALLED = tasks.Task(tasks.Metric("f1", "answer"), tasks.Optimizer("BootstrapFewShot"))


def revision(**more: Any) -> Revision:
    fields = [spec.Field("question")], [spec.Field("answer")]
    document = spec.Spec(spec.Signature(*fields), spec.Module("Predict"), **more)
    code = Code("dspy", {spec.FILE: spec.encode(document)}, "Predict")
    return new_revision(code, concurrency=50)


class Ran:
    """A ``Runner`` whose execution has found something already."""

    def __init__(self, **found: Any) -> None:
        scores = {"before": {"score": 0.5}, "after": {"score": 0.75}}
        self._found = {**scores, "state": STATE, **found}

    async def run(self, request: ExecutionRequest) -> ExecutionAnswer:
        assert request.holds is not None
        assert request.holds()
        info = ExecutionInfo(request.execution, "p", request.revision, "w", 1, 0.0, 0.0)
        return ExecutionAnswer(json.dumps(self._found).encode(), info)

    def stream(self, _: ExecutionRequest) -> Any:
        raise AssertionError("nothing is streamed")

    async def check(self, _: str, __: Code, ___: float) -> Checked:
        return Checked("c", waits=True)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[KeyValue]:
    opened = await asyncio.to_thread(open_store, f"sqlite:{tmp_path / 'store.db'}")
    yield opened
    await opened.close()


@pytest.fixture
def programs(store: KeyValue) -> ProgramStore:
    return ProgramStore(store, KEYS)


Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


async def ended(
    store: KeyValue, runner: Ran, *, wrap: Wrap = lambda revise: revise, jobs: Any = JobStore
) -> tuple[str | None, Job, dict[str, Any]]:
    """An optimisation of ``p`` from its claim to its end: the state, the job, its outputs."""
    parent = revision()
    await ProgramStore(store, KEYS).create("p", parent)
    own: JobStore = jobs(store, KEYS)
    job = Job(
        id=new_job_id(),
        program="p",
        revision="ab" * 32,
        timeout_seconds=10,
        created_at=datetime.now(UTC),
        task="optimize",
        task_of=parent.revision,
    )
    accepted = await own.accept(job, b"{}", tasks.with_task(parent.code, LM_CALLED))
    loaded = await own.load(job.id)
    assert loaded is not None
    claim = Claim(owner="g", slot=0)
    held = await own.claim(accepted, accepted.version, claim, await store.grant(60))

    async def code(_: Job) -> Code:
        return parent.code

    async def is_there(_: Job) -> None:
        pass

    optimised = Optimised(lambda: ProgramStore(store, KEYS), runner, lambda: POOL)
    around = Surroundings(
        store=own,
        run=runner.run,
        code=code,
        revised=wrap(optimised.revised),
        holds=lambda _: True,
        is_gone=lambda _: True,
        is_well=lambda _: True,
        grace=lambda: 0.0,
        keep_seconds=lambda: 60.0,
        check=is_there,
    )
    async with asyncio.timeout(60):
        state = await Work(around, held, loaded).run()
    now, result = await own.get(job.id), await own.result(job.id)
    assert now is not None
    assert result is not None
    return state, now, json.loads(result).get("outputs")


async def test_it_becomes_the_programs_revision(store: KeyValue, programs: ProgramStore) -> None:
    state, job, outputs = await ended(store, Ran())
    assert (state, job.state) == ("succeeded", "succeeded")
    head = await programs.get("p")
    assert head is not None
    assert (head.revision, head.concurrency) == (outputs["revision"], 50)
    found = await programs.revision("p", head.revision)
    assert found is not None
    assert found.origin is not None
    assert (found.origin.parent, found.origin.job) == (revision().revision, job.id)
    assert json.loads(found.files[spec.FILE])["state"] == STATE


async def test_what_an_lm_said_that_only_an_escape_can_say_loses_nothing(
    store: KeyValue, programs: ProgramStore
) -> None:
    items = [{"index": 0, "score": 0.5, "outputs": {"answer": "\ud800"}}]
    state, _, outputs = await ended(store, Ran(before={"score": 0.5, "items": items}))
    assert state == "succeeded"
    assert outputs["before"]["items"] == items
    head = await programs.get("p")
    assert head is not None
    assert head.revision == outputs["revision"]


async def test_a_program_that_changes_right_before_the_end_stays_as_it_is(
    store: KeyValue, programs: ProgramStore
) -> None:
    other = revision(history_turns=3)

    def late(revise: Callable[..., Any]) -> Callable[..., Any]:
        async def revised(*arguments: Any) -> Revised:
            found: Revised = await revise(*arguments)
            await programs.put("p", other)
            return found

        return revised

    state, _, outputs = await ended(store, Ran(), wrap=late)
    assert (state, outputs["revision"]) == ("succeeded", None)
    assert "changed meanwhile" in outputs["reason"]
    assert outputs["state"] == STATE
    assert [step.revision for step in await programs.revisions("p")] == [
        other.revision,
        revision().revision,
    ]


class Deaf(JobStore):
    """Its first end is written, and nobody is told."""

    has_ended = False

    async def finish(self, *arguments: Any, **named: Any) -> Job:
        job = await super().finish(*arguments, **named)
        if not self.has_ended:
            self.has_ended = True
            raise StoreUnavailable("no answer")
        return job


async def test_an_end_that_was_written_unheard_is_not_written_again(
    store: KeyValue, programs: ProgramStore
) -> None:
    state, job, outputs = await ended(store, Ran(), jobs=Deaf)
    assert (state, job.state) == (None, "succeeded")
    assert [step.revision for step in await programs.revisions("p")] == [
        outputs["revision"],
        revision().revision,
    ]


KEPT: list[tuple[dict[str, Any], str]] = [
    ({"after": {"score": 0.25}}, "lower"),
    ({"after": None, "reason": "lm-auth: no"}, "it could not be scored again: lm-auth: no"),
    ({"state": {}}, "nothing better"),
    ({"state": {"self": {"lm": {"api_base": "http://evil"}}}}, "state.self.lm"),
    ({"state": {"self": {"demos": [{"config": {}}]}}}, "state.self.demos.0.config"),
    ({"state": {"other": {}}}, "no such predictor"),
    ({"state": "pickle"}, "no outputs of an optimisation"),
    ({"after": {}}, "no outputs of an optimisation"),
]


@pytest.mark.parametrize(("found", "reason"), KEPT)
async def test_what_may_not_be_the_next_revision_is_told_with_the_reason(
    store: KeyValue, programs: ProgramStore, found: dict[str, Any], reason: str
) -> None:
    state, _, outputs = await ended(store, Ran(**found))
    assert (state, outputs["revision"]) == ("succeeded", None)
    assert reason in outputs["reason"]
    assert len(await programs.revisions("p")) == 1


async def test_a_program_that_was_deleted_stays_deleted(
    store: KeyValue, programs: ProgramStore
) -> None:
    def late(revise: Callable[..., Any]) -> Callable[..., Any]:
        async def revised(*arguments: Any) -> Revised:
            await programs.delete("p")
            found: Revised = await revise(*arguments)
            return found

        return revised

    _, _, outputs = await ended(store, Ran(), wrap=late)
    assert outputs["revision"] is None
    assert await programs.get("p") is None


async def test_a_job_that_is_not_ours_any_more_is_left_alone(
    store: KeyValue, programs: ProgramStore
) -> None:
    """Its claim has ended with its lease: its end cannot be written, however often it is tried."""

    def late(revise: Callable[..., Any]) -> Callable[..., Any]:
        async def revised(job: Job, *arguments: Any) -> Revised:
            found: Revised = await revise(job, *arguments)
            await store.commit([Delete(KEYS.jobs.claim(job.id))])
            return found

        return revised

    with pytest.raises(AssertionError, match="is not None"):  # it has no result
        await ended(store, Ran(), wrap=late)
    assert len(await programs.revisions("p")) == 1


async def test_what_nobody_foresaw_ends_the_job(store: KeyValue) -> None:
    def broken(_: Callable[..., Any]) -> Callable[..., Any]:
        async def revised(*_: Any) -> Revised:
            raise RecursionError

        return revised

    state, job, _ = await ended(store, Ran(), wrap=broken)
    assert (state, job.problem) == ("failed", "internal-error")


async def test_outputs_that_are_no_object_are_told_with_the_reason(store: KeyValue) -> None:
    class Strange(Ran):
        async def run(self, request: ExecutionRequest) -> ExecutionAnswer:
            return msgspec.structs.replace(await super().run(request), outputs=b"[]")

    state, _, outputs = await ended(store, Strange())
    assert (state, outputs["revision"]) == ("succeeded", None)
    assert "no outputs of an optimisation" in outputs["reason"]


SHOWN = {"score": 0.5, "items": [{"index": n, "outputs": "x" * 4000} for n in range(300)]}


async def test_examples_that_the_store_does_not_take_are_left_out(
    store: KeyValue, programs: ProgramStore
) -> None:
    state, _, outputs = await ended(store, Ran(before=SHOWN))
    assert state == "succeeded"
    assert outputs["before"] == {"score": 0.5, "items": []}
    assert outputs["state"] == STATE
    head = await programs.get("p")
    assert head is not None
    assert head.revision == outputs["revision"]


async def test_a_state_that_the_store_takes_only_once_is_in_the_result(
    store: KeyValue, programs: ProgramStore
) -> None:
    demos = [{"question": "?", "answer": "x" * 90_000} for _ in range(9)]
    large = {"self": {"demos": demos}}
    state, _, outputs = await ended(store, Ran(state=large, before=SHOWN))
    assert (state, outputs["revision"]) == ("succeeded", None)
    assert "put the state yourself" in outputs["reason"]
    assert outputs["state"] == large
    assert len(await programs.revisions("p")) == 1


async def test_a_state_that_the_store_does_not_take_at_all_ends_the_job(
    store: KeyValue, programs: ProgramStore
) -> None:
    demos = [{"question": "?", "answer": "x" * 90_000} for _ in range(13)]
    state, job, _ = await ended(store, Ran(state={"self": {"demos": demos}}))
    assert (state, job.problem) == ("failed", "output-too-large")
    assert len(await programs.revisions("p")) == 1
