"""Sessions: who has which, what they keep, and their end."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from aiohttp import web

from anypod.api import ids
from anypod.api.dspy_checks import lm_choice
from anypod.api.dspy_programs import LmParameters
from anypod.api.problems import AnyPodError, error
from anypod.api.sessions import SessionLm
from anypod.dspy.spec import LmChoice
from anypod.store.sessions import Pin
from anypod_gateway import answers, lms, requests
from anypod_gateway.calls import CALL
from anypod_gateway.requests import MAX_PAGE
from anypod_gateway.services import SERVICES, Pool

_AT_ONCE = 16


async def list_sessions(request: web.Request) -> web.Response:
    pool = await request.app[SERVICES].pool(request, request[CALL])
    after, limit = requests.page(request.query)
    page = await pool.sessions.page(after=after, limit=limit)
    slots = asyncio.Semaphore(_AT_ONCE)
    summaries = await asyncio.gather(*(_summary(pool, pin, slots) for pin in page.items))
    items = [summary for summary in summaries if summary is not None]
    return answers.document({"items": items, "next": page.next})


async def get_session(request: web.Request) -> web.Response:
    pool = await request.app[SERVICES].pool(request, request[CALL])
    key = _key(request)
    pin = await pool.sessions.get(key)
    if pin is None:
        raise no_session(key)
    summary = await _summary(pool, pin, asyncio.Semaphore())
    state = await pool.sessions.state(key)
    if summary is None or state is None:
        raise no_session(key)
    owned = await pool.programs(key).page(limit=MAX_PAGE)
    programs = [head.id for head in owned.items]
    lm = await pool.sessions.lm(key)
    told = {"lm": _lm(lm).model_dump(by_alias=True)} if lm is not None else {}
    return answers.document(
        {**summary, "state": msgspec.Raw(state.json), "programs": programs, **told}
    )


async def choose_lm(request: web.Request) -> web.Response:
    services = request.app[SERVICES]
    pool = await services.pool(request, request[CALL])
    key = _key(request)
    given = requests.parse(LmParameters, await services.body(request, pool))
    choice = lm_choice(given) or LmChoice()
    lms.check_choice(pool.spec, choice, "dspy")
    await pool.open_session(key)
    pin = await pool.sessions.get(key)
    if pin is None:
        raise no_session(key)
    await pool.sessions.choose_lm(pin, choice)
    return answers.document(_lm(choice))


def _lm(choice: LmChoice) -> SessionLm:
    return SessionLm(name=choice.name, temperature=choice.temperature, max_tokens=choice.max_tokens)


async def end_session(request: web.Request) -> web.Response:
    pool = await request.app[SERVICES].pool(request, request[CALL])
    key = _key(request)
    if await pool.sessions.end(key) is None:
        raise no_session(key)
    return web.Response(status=204)


def _key(request: web.Request) -> str:
    key = request.match_info["session"]
    if not ids.is_session_key(key):
        raise no_session(key)
    return key


def no_session(key: str) -> AnyPodError:
    return error("session-not-found", f"there is no session {key!r}", session=key)


async def _summary(pool: Pool, pin: Pin, slots: asyncio.Semaphore) -> dict[str, Any] | None:
    """None when it has ended meanwhile."""
    async with slots:
        left = await pool.sessions.time_left(pin)
    if left is None:
        return None
    return {
        "id": pin.key,
        "pool": pool.name,
        "worker": pin.worker,
        "createdAt": pin.created_at,
        "expiresAt": datetime.now(UTC) + timedelta(seconds=left),
        "epoch": pin.epoch,
    }
