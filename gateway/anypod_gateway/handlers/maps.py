"""A program over many inputs: NDJSON in and out, as one stream.

Three go on at once: lines are read as long as there is room for their items, items run, and their
answers are written at the reader's pace. When the client goes, all of it ends.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial

import msgspec
from aiohttp import hdrs, web

from anypod.api.executions import HIGHEST_TEMPERATURE, MOST_TOKENS
from anypod.api.idempotency import HEADER
from anypod.api.ndjson import MEDIA_TYPE
from anypod.api.problems import Problem, problem
from anypod.dspy.spec import LmChoice
from anypod_gateway import lms, requests, uploads
from anypod_gateway.calls import CALL, Call
from anypod_gateway.failures import problem_of
from anypod_gateway.handlers.accepting import check_no_job
from anypod_gateway.handlers.items import Items, Wanted
from anypod_gateway.handlers.keyed import key_digest
from anypod_gateway.handlers.programs import no_program
from anypod_gateway.handlers.runs import code_of, lm_of, timeout_of, version_at
from anypod_gateway.lifecycle import Lifecycle
from anypod_gateway.outlets import Outlet
from anypod_gateway.services import SERVICES, Pool, Services, session_key

STALLED_SECONDS = 600.0
"""For a reader to take something of what there is for it."""
MOST_AT_ONCE = 10_000

_encode = msgspec.json.Encoder().encode


async def map_program(request: web.Request) -> web.StreamResponse:
    services, call = request.app[SERVICES], request[CALL]
    pool = await services.pool(request, call)
    uploads.check_media_type(request)
    check_no_job(request, "leave it out, or run each item with Prefer: respond-async")
    at_once = _at_once(request, pool)
    wanted = await _wanted(request, services, pool)
    items = Items(services, pool, call, wanted)
    outlet = Outlet(
        ordered=not requests.flag(request.query, "unordered"),
        at_once=lambda: min(at_once, pool.share.items(items.concurrency)),
    )
    batch = Batch(request, pool, items, outlet, services.life)
    response = web.StreamResponse(
        headers={
            hdrs.CONTENT_TYPE: MEDIA_TYPE,
            hdrs.CACHE_CONTROL: "no-cache",
            "X-Accel-Buffering": "no",
            "X-AnyPod-Revision": wanted.revision,
        }
    )
    await batch.answer(response, services.settings.heartbeat_seconds)
    return response


class Batch:
    """The items of one upload, from its first line to the last line of the answer."""

    def __init__(
        self, request: web.Request, pool: Pool, items: Items, outlet: Outlet, life: Lifecycle
    ) -> None:
        self._request = request
        self._call: Call = request[CALL]
        self._longest = pool.spec.limits.body_bytes
        self._items = items
        self._outlet = outlet
        self._life = life
        self._running: set[asyncio.Task[None]] = set()
        self._broken: Problem | None = None
        """Why not all lines were read."""

    async def answer(self, response: web.StreamResponse, heartbeat_seconds: float) -> None:
        reading = asyncio.ensure_future(self._read())
        stopping = asyncio.ensure_future(self._stop(reading))
        try:
            async with self._written():
                await response.prepare(self._request)
            async with aclosing(self._outlet.pieces(heartbeat_seconds)) as pieces:
                async for piece in pieces:
                    async with self._written():
                        await response.write(piece)
        finally:
            self._note()
            await _cancelled({stopping, reading, *self._running})
        # Last, and at once: whoever has read it may leave, and has been answered.
        async with self._written():
            await response.write_eof(self._end())

    @asynccontextmanager
    async def _written(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                yield
        except (ConnectionError, TimeoutError):
            if self._request.transport is not None:
                self._request.transport.abort()
            raise asyncio.CancelledError from None

    async def _stop(self, reading: "asyncio.Task[None]") -> None:
        """A batch would hold up a gateway that is told to stop: its client is to go on elsewhere.
        One that has come since is served, as any call is."""
        if self._life.draining:
            return
        await self._life.stopped()
        if not reading.done():
            self._broken = problem("no-worker", "the gateway is stopping", retry_after=1)
            reading.cancel()

    # reading

    async def _read(self) -> None:
        try:
            async with aclosing(uploads.lines(self._request, self._longest)) as lines:
                await self._outlet.room()
                async for index, line in lines:
                    self._begin(index, line)
                    await self._outlet.room()
        except ConnectionError:
            pass  # the client has gone; the cancellation that says so is on its way
        except Exception as failure:  # noqa: BLE001 - every failure is told, and logged there
            self._broken = problem_of(failure, self._call)
        finally:
            self._outlet.end()

    def _begin(self, index: int, line: bytes | None) -> None:
        item = asyncio.ensure_future(self._item(self._outlet.enter(), index, line))
        self._running.add(item)
        item.add_done_callback(self._running.discard)

    async def _item(self, turn: int, index: int, line: bytes | None) -> None:
        self._outlet.put(turn, await self._items.answer(index, line))

    # the end

    def _end(self) -> bytes:
        self._note()
        call = self._call
        end: dict[str, int | Problem] = {
            "items": call.items,
            "succeeded": call.items - call.failed,
            "failed": call.failed,
            "replayed": self._items.replayed,
        }
        if self._broken is not None:
            end["problem"] = self._broken
        return _encode({"end": end}) + b"\n"

    def _note(self) -> None:
        outcomes = self._items.outcomes
        self._call.items = outcomes.total()
        self._call.failed = outcomes.total() - outcomes["ok"]


async def _cancelled(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


# what is asked for


async def _wanted(request: web.Request, services: Services, pool: Pool) -> Wanted:
    program, pinned = requests.split_ref(request.match_info["program_ref"])
    session = session_key(request, pool)
    head = await pool.cache.head(program, session)
    if head is None:
        raise no_program(program)
    version = head if not pinned else await version_at(pool, head, pinned)
    asked = _lm(request)
    if asked is not None:
        lms.check_choice(pool.spec, asked, head.kind)
    lm, shows_replies = None, True
    if head.kind == "dspy":
        lm, shows_replies = await lm_of(services, pool, request[CALL], session, asked)
    return Wanted(
        program=program,
        revision=version.revision,
        code=partial(code_of, pool, head, version.revision),
        idempotent=version.idempotent,
        timeout=timeout_of(pool, _timeout(request, pool), version.timeout_seconds),
        logs=requests.flag(request.query, "logs"),
        session=session,
        lm=lm,
        asked_lm=asked,
        shows_replies=shows_replies,
        concurrency=version.concurrency,
        kind=version.kind,
        key=key_digest(request, program) if HEADER in request.headers else "",
    )


def _timeout(request: web.Request, pool: Pool) -> float | None:
    most = pool.spec.limits.max_timeout_seconds
    return requests.number(request.query, "timeoutSeconds", above=0, most=most)


def _lm(request: web.Request) -> LmChoice | None:
    """As the body of a run may say it."""
    query = request.query
    if not any(name in query for name in ("lm", "temperature", "maxTokens")):
        return None
    tokens = requests.number(query, "maxTokens", above=0, most=MOST_TOKENS, whole=True)
    return LmChoice(
        name=query.get("lm"),
        temperature=requests.number(
            query, "temperature", above=0, most=HIGHEST_TEMPERATURE, closed=True
        ),
        max_tokens=None if tokens is None else int(tokens),
    )


def _at_once(request: web.Request, pool: Pool) -> int:
    """Items that may be under way; the pool's share bounds them too."""
    asked = requests.number(request.query, "concurrency", above=0, most=MOST_AT_ONCE, whole=True)
    if session_key(request, pool) is not None:
        return 1  # its calls run one after another anyhow
    return int(asked or MOST_AT_ONCE)
