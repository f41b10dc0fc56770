"""Evaluating and optimising programs of kind dspy: each is a job from the beginning."""

import asyncio
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from anypod.api import ids
from anypod.api.dspy_checks import Refused, lm_choice
from anypod.api.dspy_tasks import EvaluateProgram, ExampleGiven, OptimizeProgram
from anypod.api.jobs import TaskKind
from anypod.api.problems import error
from anypod.dspy import spec, tasks
from anypod.store.revisions import Revision, revision_of
from anypod_gateway import lms, requests
from anypod_gateway.calls import CALL
from anypod_gateway.executions import ExecutionRequest
from anypod_gateway.handlers.accepting import accept
from anypod_gateway.handlers.programs import no_program
from anypod_gateway.handlers.runs import lm_of, ready, version_at
from anypod_gateway.services import SERVICES, Pool, session_key

T = TypeVar("T", EvaluateProgram, OptimizeProgram)


async def evaluate_program(request: web.Request) -> web.Response:
    pool, body, given, revision = await _asked(request, EvaluateProgram)
    task = _task(given, revision, None, {"dataset": given.dataset})
    return await _accept(request, pool, body, given, revision, task, {"dataset": given.dataset})


async def optimize_program(request: web.Request) -> web.Response:
    pool, body, given, revision = await _asked(request, OptimizeProgram)
    data = {"trainset": given.trainset}
    if given.valset is not None:
        data["valset"] = given.valset
    task = _task(given, revision, given.optimizer.chosen(), data)
    return await _accept(request, pool, body, given, revision, task, data)


async def _asked(request: web.Request, model: type[T]) -> tuple[Pool, bytes, T, Revision]:
    services = request.app[SERVICES]
    pool = await services.pool(request, request[CALL])
    body = await services.body(request, pool)
    given = requests.validate(model, requests.json_of(body), "", "invalid-inputs")
    if session_key(request, pool) is not None:
        header = pool.spec.sessions.header
        raise error("bad-request", "this is for programs of the pool, not of a session",
                    path=header)  # fmt: skip
    only_latest = model is OptimizeProgram
    return pool, body, given, await _revision(pool, request.match_info["program_ref"], only_latest)


async def _revision(pool: Pool, program_ref: str, only_latest: bool) -> Revision:
    program, pinned = requests.split_ref(program_ref)
    head = await pool.cache.head(program, None)
    if head is None:
        raise no_program(program)
    if head.kind != "dspy":
        raise error("bad-request", f"a program of kind {head.kind} asks no LM", program=program)
    named = head if not pinned else await version_at(pool, head, pinned)
    if only_latest and named.revision != head.revision:
        raise error(
            "revision-conflict",
            f"what is found would be the revision after {head.revision}, which is the latest: "
            "roll back to the older one first, or make a program of its own of it",
            program=program,
            revision=named.revision,
        )
    revision = await pool.cache.revision(head, named.revision)
    if revision is None:  # deleted since the head was read
        raise no_program(program)
    return revision


def _task(
    given: EvaluateProgram | OptimizeProgram,
    revision: Revision,
    optimizer: tasks.Optimizer | None,
    data: dict[str, list[ExampleGiven]],
) -> tasks.Task:
    try:
        task = given.task(spec.decode(revision.files[spec.FILE]), optimizer)
    except Refused as wrong:
        raise lms.invalid_program(wrong.path, str(wrong), wrong.line) from None
    if field := task.metric.field:
        for name, examples in data.items():
            for number, example in enumerate(examples):
                if field not in example.expected:
                    path = f"{name}.{number}.expected.{field}"
                    raise error("invalid-inputs", f"{path}: the metric needs it", path=path)
    return task


async def _accept(
    request: web.Request,
    pool: Pool,
    body: bytes,
    given: EvaluateProgram | OptimizeProgram,
    revision: Revision,
    task: tasks.Task,
    data: dict[str, list[ExampleGiven]],
) -> web.Response:
    services, call = request.app[SERVICES], request[CALL]
    lm = lm_choice(given.lm)
    if lm is not None:
        lms.check_choice(pool.spec, lm, "dspy")
    lm, shows_replies = await lm_of(services, pool, call, None, lm)
    code = tasks.with_task(revision.code, task)
    seconds = _seconds(pool, given.budget.seconds)
    call.execution = ids.new_execution_id()
    execution = ExecutionRequest(
        execution=call.execution,
        program=ids.split_program_ref(request.match_info["program_ref"])[0],
        revision=revision_of(code.kind, code.files, code.entrypoint),
        code=lambda: ready(code),
        inputs=_encoded(data),
        deadline=asyncio.get_running_loop().time() + seconds,
        idempotent=revision.idempotent,
        kind=code.kind,
        lm=lm,
        shows_replies=shows_replies,
    )
    kind: TaskKind = "evaluate" if task.optimizer is None else "optimize"
    return await accept(
        request, pool, execution, body, seconds, task=kind, task_of=revision.revision
    )


def _seconds(pool: Pool, asked: float | None) -> float:
    most = pool.spec.limits.max_timeout_seconds
    if asked is not None and asked > most:
        raise error("bad-request", f"a budget may have {most:g} seconds in this pool",
                    path="budget.seconds")  # fmt: skip
    return asked or most


def _encoded(data: dict[str, list[ExampleGiven]]) -> bytes:
    told: dict[str, Any] = {
        name: [example.model_dump() for example in examples] for name, examples in data.items()
    }
    return msgspec.json.encode(told)
