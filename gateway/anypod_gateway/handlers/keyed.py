"""A run with an Idempotency-Key: it happens once, however often it is called."""

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from typing import TypeGuard

import msgspec
from aiohttp import web

from anypod.api.idempotency import HEADER, REPLAYED, BadKey, key_of
from anypod.api.problems import OF_THE_PROGRAM, AnyPodError, error
from anypod.store.once import Answer
from anypod_gateway import answers
from anypod_gateway.calls import CALL, Call
from anypod_gateway.executions import ExecutionRequest
from anypod_gateway.failures import problem_of
from anypod_gateway.handlers import streams
from anypod_gateway.once import Keyed
from anypod_gateway.recording import Recording
from anypod_gateway.services import Pool, Services
from anypod_gateway.whole import Whole

NOT_KEPT = frozenset({"lm-auth", "lm-rate-limited", "lm-unavailable"})
"""A program's failures that are its LM's provider's: it is not told for a day what held for now."""

_encode = msgspec.json.encode


async def run_once(
    request: web.Request, services: Services, pool: Pool, execution: ExecutionRequest, body: bytes
) -> web.StreamResponse:
    call = request[CALL]

    async def performed() -> Answer:
        with services.running(pool):
            try:
                answer = await pool.runner.run(execution)
            except AnyPodError as failure:
                return kept_failure(failure)
        services.note(pool, call, answer.info)
        return Answer(200, answers.run_head(answer.info), answers.run_body(answer).decode())

    answer, replayed = await pool.once.run(keyed(request, execution, body), performed)
    return _told(answer, replayed, call)


async def stream_once(
    request: web.Request, services: Services, pool: Pool, execution: ExecutionRequest, body: bytes
) -> web.StreamResponse:
    """The events as they come; of an earlier call, all at once."""
    call = request[CALL]
    recording = Recording()

    async def performed() -> Answer:
        with services.running(pool), recording:
            return await _record(services, pool, execution, call, recording)

    telling = asyncio.ensure_future(
        pool.once.run(keyed(request, execution, body, "events"), performed)
    )
    try:
        if await recording.begins(telling, streams.UNDECIDED_SECONDS):
            return await streams.relay(request, services, execution, recording.frames())
        answer, replayed = await telling
        return _told(answer, replayed, call)
    finally:
        recording.leave()
        telling.cancel()
        with suppress(Exception, asyncio.CancelledError):  # it was told, or its caller has left
            await telling


async def _record(
    services: Services, pool: Pool, execution: ExecutionRequest, call: Call, recording: Recording
) -> Answer:
    try:
        async for event in pool.runner.stream(execution):
            await recording.add(streams.frame(event))
            if isinstance(event, streams.End):
                services.note(pool, call, event.info)
    except Exception as failure:
        if not recording.is_told:
            return kept_failure(failure)
        await recording.add(streams.problem_frame(problem_of(failure, call)))
        if not _is_kept(failure):
            raise
    return Answer(200, streams.head(execution), recording.kept())


def kept_failure(failure: Exception) -> Answer:
    """The program's own are kept; the platform's, and those of an LM's provider, are raised."""
    if not _is_kept(failure):
        raise failure
    return Answer(failure.status, body=_encode(failure.problem).decode())


def _is_kept(failure: Exception) -> TypeGuard[AnyPodError]:
    return (
        isinstance(failure, AnyPodError)
        and failure.type in OF_THE_PROGRAM
        and failure.type not in NOT_KEPT
    )


def keyed(request: web.Request, execution: ExecutionRequest, body: bytes, kind: str = "") -> Keyed:
    """``kind``: what else the call asks for."""
    asked = [
        request.path,
        execution.session,
        execution.logs,
        kind,
        hashlib.sha256(body).hexdigest(),
    ]
    return Keyed(
        digest=key_digest(request, execution.program),
        fingerprint=digest_of(asked),
        execution=execution.execution,
        idempotent=execution.idempotent,
        deadline=execution.deadline,
    )


def key_digest(request: web.Request, program: str) -> str:
    """Of the key that the request has, its caller and the program. Raises bad-request."""
    caller = request[CALL].caller
    try:
        key = key_of(", ".join(request.headers.getall(HEADER)))  # none, if there are two
    except BadKey as bad:
        raise error("bad-request", str(bad), path=HEADER) from None
    who = [type(caller).__name__, caller.name] if caller is not None else []
    return digest_of([program, who, key])


def digest_of(told: Sequence[object]) -> str:
    return hashlib.sha256(_encode(told)).hexdigest()


def _told(answer: Answer, replayed: bool, call: Call) -> web.StreamResponse:
    if replayed:
        call.execution = answers.execution_in(answer.head)
    if answer.body is None:
        raise error("answer-not-kept", "it ran, but its answer was too large to be kept")
    if answer.status == 200:
        again = f"{REPLAYED}: true\r\n" if replayed else ""
        return Whole(answer.head + again, answer.body.encode())
    response = answers.problem(problem_of(AnyPodError(answers.decode_problem(answer.body)), call))
    if replayed:
        response.headers[REPLAYED] = "true"
    return response
