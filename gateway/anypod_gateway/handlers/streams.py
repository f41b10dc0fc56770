"""A run as server-sent events, at the client's pace.

Writing waits until the client has read, and only then is the next event asked for, so a slow
client slows its program down. What goes wrong in the first second is an ordinary problem answer;
what goes wrong later, when the status has been sent, is the stream's last event.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec
from aiohttp import hdrs, web

from anypod.api.problems import Problem
from anypod.wire.messages import Chunk, Log
from anypod_gateway import answers
from anypod_gateway.calls import CALL, Call
from anypod_gateway.executions import ExecutionAnswer, ExecutionRequest, StreamEvent
from anypod_gateway.failures import problem_of
from anypod_gateway.services import Pool, Services

EVENT_STREAM = "text/event-stream"
End = ExecutionAnswer
HEARTBEAT = b": still running\n\n"
UNDECIDED_SECONDS = 1.0
"""How long a failure may still become a status; then the client gets its headers."""
FLUSH_SECONDS = 60.0
"""For a client to read what is left after its execution's deadline."""

_HEADERS = {
    hdrs.CONTENT_TYPE: EVENT_STREAM,
    hdrs.CACHE_CONTROL: "no-cache",
    "X-Accel-Buffering": "no",
}

_encode = msgspec.json.Encoder().encode


async def relay(
    request: web.Request,
    services: Services,
    execution: ExecutionRequest,
    frames: AsyncIterator[bytes],
) -> web.StreamResponse:
    return await event_stream(
        request, services, frames, execution.deadline + FLUSH_SECONDS, _headers(execution)
    )


async def event_stream(
    request: web.Request,
    services: Services,
    frames: AsyncIterator[bytes],
    deadline: float,
    headers: Mapping[str, str] = _HEADERS,
) -> web.StreamResponse:
    """A client that has left, or does not read, ends it as a cancellation."""
    response = web.StreamResponse(headers=headers)
    try:
        async with asyncio.timeout_at(deadline):
            await response.prepare(request)
            async with _heartbeats(response, services.settings.heartbeat_seconds):
                async for each in frames:
                    await response.write(each)
            await response.write_eof()
    except (ConnectionError, TimeoutError):
        if request.transport is not None:
            request.transport.abort()
        raise asyncio.CancelledError from None
    return response


def head(execution: ExecutionRequest) -> str:
    """Header lines."""
    return "".join(f"{name}: {value}\r\n" for name, value in _headers(execution).items())


async def stream(
    request: web.Request, services: Services, pool: Pool, execution: ExecutionRequest
) -> web.StreamResponse:
    async with _events(pool.runner.stream(execution)) as events:
        frames = _frames(services, pool, request[CALL], events)
        return await relay(request, services, execution, frames)


def _headers(execution: ExecutionRequest) -> dict[str, str]:
    return {
        **_HEADERS,
        "X-AnyPod-Execution": execution.execution,
        "X-AnyPod-Revision": execution.revision,
    }


@asynccontextmanager
async def _events(stream: AsyncIterator[StreamEvent]) -> AsyncIterator[AsyncIterator[StreamEvent]]:
    """All events, once the first is there or is late; a failure that comes at once is raised."""
    first = asyncio.ensure_future(anext(stream))
    try:
        await asyncio.wait({first}, timeout=UNDECIDED_SECONDS)
        if first.done():
            first.result()
        yield _all(first, stream)
    finally:
        first.cancel()  # else the generator runs, and cannot be closed
        await asyncio.wait({first})
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()


async def _all(
    first: "asyncio.Task[StreamEvent]", others: AsyncIterator[StreamEvent]
) -> AsyncIterator[StreamEvent]:
    yield await first
    async for event in others:
        yield event


@asynccontextmanager
async def _heartbeats(response: web.StreamResponse, seconds: float) -> AsyncIterator[None]:
    async def beat() -> None:
        while True:
            await asyncio.sleep(seconds)
            await response.write(HEARTBEAT)

    beating = asyncio.ensure_future(beat())
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.wait({beating})
        # A client that has left shows in the relay too; anything else would be a fault of ours.
        if not beating.cancelled() and not isinstance(beating.exception(), ConnectionError):
            beating.result()


async def _frames(
    services: Services, pool: Pool, call: Call, events: AsyncIterator[StreamEvent]
) -> AsyncIterator[bytes]:
    """The last one may be a problem."""
    try:
        async for event in events:
            yield frame(event)
            if isinstance(event, End):
                services.note(pool, call, event.info)
    except ConnectionError:
        raise
    except Exception as failure:  # noqa: BLE001 - every failure is told, and logged there
        yield problem_frame(problem_of(failure, call))


def problem_frame(told: Problem) -> bytes:
    return _event(b"problem", _encode(told))


def frame(event: StreamEvent) -> bytes:
    match event:
        case Chunk():
            return _event(b"chunk", event.data)
        case Log():
            return _event(b"log", _encode({"stream": event.stream, "text": event.text}))
    return _event(b"result", _encode(answers.run_answer(event)))


def _event(kind: bytes, data: bytes) -> bytes:
    # Between JSON's values a line end is only space; within one there is none.
    line = data.replace(b"\r", b" ").replace(b"\n", b" ")
    return b"event: " + kind + b"\ndata: " + line + b"\n\n"
