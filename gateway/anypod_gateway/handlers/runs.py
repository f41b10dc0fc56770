"""Running programs: the hot path, without pydantic and without a look at inputs or outputs."""

import asyncio
import re
from functools import partial

from aiohttp import hdrs, web
from multidict import istr

from anypod.api import executions, ids
from anypod.api.dspy_programs import DspyCode
from anypod.api.executions import InvalidRequest
from anypod.api.idempotency import HEADER
from anypod.api.problems import error
from anypod.api.programs import ProgramCode
from anypod.dspy.spec import LmChoice
from anypod.store.kv import MAX_VALUE_BYTES
from anypod.store.program_records import Head, RevisionNotFound
from anypod.store.revisions import Revision
from anypod.wire.messages import Code
from anypod_gateway import answers, lms, requests
from anypod_gateway.calls import CALL, Call
from anypod_gateway.executions import ExecutionRequest
from anypod_gateway.given import given_program
from anypod_gateway.handlers.accepting import PREFER, accept, check_no_job, prefers_async
from anypod_gateway.handlers.keyed import run_once, stream_once
from anypod_gateway.handlers.programs import no_program
from anypod_gateway.handlers.streams import EVENT_STREAM, stream
from anypod_gateway.services import SERVICES, Pool, Services, session_key

KEY = istr(HEADER)
"""Looked up in half the time."""

_REFUSED_STREAM = re.compile(rf"{EVENT_STREAM}\s*(;[^,]*)?;\s*q=0(\.0*)?\s*([,;]|$)", re.IGNORECASE)


async def run_program(request: web.Request) -> web.StreamResponse:
    named = request.match_info
    return await run_named(request, request.app[SERVICES], named["pool"], named["program_ref"])


async def run_named(
    request: web.Request, services: Services, pool_name: str, program_ref: str
) -> web.StreamResponse:
    call = request[CALL]
    pool = await services.pool_named(pool_name, call)
    body = await services.body(request, pool)
    came = asyncio.get_running_loop().time()
    try:
        inputs, timeout, lm = executions.parse_run(body)
    except InvalidRequest as invalid:
        raise error("bad-request", str(invalid), path=invalid.path) from None
    program, pinned = requests.split_ref(program_ref)
    session = session_key(request, pool)
    head = await pool.cache.head(program, session)
    if head is None:
        raise no_program(program)
    if lm is not None:
        lms.check_choice(pool.spec, lm, head.kind)
    shows_replies = True
    if head.kind == "dspy":
        lm, shows_replies = await lm_of(services, pool, call, session, lm)
    version = head if not pinned else await version_at(pool, head, pinned)
    return await _run(
        request,
        services,
        pool,
        body,
        came,
        ExecutionRequest(
            execution=_name(call),
            program=program,
            revision=version.revision,
            code=partial(code_of, pool, head, version.revision),
            inputs=inputs,
            deadline=came + timeout_of(pool, timeout, version.timeout_seconds),
            idempotent=version.idempotent,
            logs=_wants_logs(request),
            session=session,
            lm=lm,
            shows_replies=shows_replies,
            concurrency=version.concurrency,
            kind=version.kind,
        ),
    )


async def lm_of(
    services: Services, pool: Pool, call: Call, session: str | None, asked: LmChoice | None = None
) -> tuple[LmChoice | None, bool]:
    """What the run says, over what its session says; whether the caller may see replies."""
    return await _chosen(pool, session, asked), await services.may_see_replies(pool, call)


async def _chosen(pool: Pool, session: str | None, asked: LmChoice | None) -> LmChoice | None:
    chosen = None if session is None else await pool.sessions.lm(session)
    if chosen is None:
        return asked
    merged = chosen.under(asked)
    lms.check_sessions(pool.spec, merged)
    return merged


async def version_at(pool: Pool, head: Head, prefix: str) -> Head | Revision:
    try:
        name = await pool.cache.resolve(head, prefix)
    except RevisionNotFound as none:
        raise error("revision-not-found", str(none), program=head.id) from None
    if name == head.revision:
        return head
    return await _blob(pool, head, name)


async def code_of(pool: Pool, head: Head, revision: str) -> Code:
    return (await _blob(pool, head, revision)).code


async def _blob(pool: Pool, head: Head, name: str) -> Revision:
    revision = await pool.cache.revision(head, name)
    if revision is None:  # deleted since the head was read
        raise no_program(head.id)
    return revision


async def run_inline(request: web.Request) -> web.StreamResponse:
    services, call = request.app[SERVICES], request[CALL]
    pool = await services.pool(request, call)
    body = await services.body(request, pool)
    came = asyncio.get_running_loop().time()
    try:
        given, (inputs, timeout, lm) = executions.parse_run_inline(body)
    except InvalidRequest as invalid:
        raise error("bad-request", str(invalid), path=invalid.path) from None
    program = given_program(pool, given, ProgramCode, DspyCode, "program")
    code = program.code
    if lm is not None:
        lms.check_choice(pool.spec, lm, code.kind)
    session = session_key(request, pool)
    if code.kind == "dspy":
        lm = await _chosen(pool, session, lm)
    return await _run(
        request,
        services,
        pool,
        body,
        came,
        ExecutionRequest(
            execution=_name(call),
            program="",
            revision=program.revision,
            code=lambda: ready(code),
            inputs=inputs,
            deadline=came + timeout_of(pool, timeout, program.timeout_seconds),
            idempotent=program.idempotent,
            logs=_wants_logs(request),
            session=session,
            lm=lm,
            concurrency=program.concurrency,
            kind=code.kind,
        ),
    )


async def ready(code: Code) -> Code:
    return code


def _name(call: Call) -> str:
    call.execution = ids.new_execution_id()
    return call.execution


def _wants_logs(request: web.Request) -> bool:
    return bool(request.query_string) and requests.flag(request.query, "logs")


def _wants_stream(accept: str) -> bool:
    return EVENT_STREAM in accept and not _REFUSED_STREAM.search(accept)


def timeout_of(pool: Pool, asked: float | None, programs: float | None) -> float:
    limits = pool.spec.limits
    if asked is not None and asked > limits.max_timeout_seconds:
        raise error(
            "bad-request",
            f"timeoutSeconds may be {limits.max_timeout_seconds:g} in this pool",
            path="timeoutSeconds",
        )
    return min(asked or programs or limits.timeout_seconds, limits.max_timeout_seconds)


async def _run(
    request: web.Request,
    services: Services,
    pool: Pool,
    body: bytes,
    came: float,
    execution: ExecutionRequest,
) -> web.StreamResponse:
    if PREFER in request.headers and prefers_async(request):
        if len(execution.inputs) <= MAX_VALUE_BYTES:  # else they are refused for their size
            requests.check_inputs(execution.inputs)
        return await accept(request, pool, execution, body, execution.deadline - came)
    check_no_job(request, "send Prefer: respond-async with it, or leave it out")
    streamed = _wants_stream(request.headers.get(hdrs.ACCEPT, ""))
    if KEY in request.headers:
        once = stream_once if streamed else run_once
        return await once(request, services, pool, execution, body)
    in_flight = services.metrics.in_flight
    in_flight[pool.name] += 1
    try:
        if streamed:
            return await stream(request, services, pool, execution)
        answer = await pool.runner.run(execution)
    finally:
        in_flight[pool.name] -= 1
    services.note(pool, request[CALL], answer.info)
    return answers.run(answer)
