"""What happens to a job, as server-sent events that can be taken up again.

States are numbered from the job's acceptance, and are all kept with it (the last 64 of them). Of
the progress only the last is kept: it is told when it is new, and has no number.
"""

import asyncio
from collections.abc import AsyncIterator

import msgspec
from aiohttp import web

from anypod.api.problems import error
from anypod.store.job_records import Job, Progress, Step
from anypod_gateway.handlers.jobs import LOOK_SECONDS, found, newer
from anypod_gateway.handlers.streams import event_stream
from anypod_gateway.services import SERVICES, Pool, Services

LAST = "Last-Event-ID"
LONGEST_SECONDS = 3600.0
"""Then the client has to come back, with the last number that it had."""

_encode = msgspec.json.encode


async def get_job_events(request: web.Request) -> web.StreamResponse:
    services = request.app[SERVICES]
    pool, job = await found(request)
    last = _last(request)
    if not job.is_open and last >= job.forgotten + len(job.steps):
        return web.Response(status=204)  # else an EventSource would come back for ever
    frames = _frames(services, pool, job, last)
    deadline = asyncio.get_running_loop().time() + LONGEST_SECONDS
    return await event_stream(request, services, frames, deadline)


def _last(request: web.Request) -> int:
    text = request.headers.get(LAST, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise error("bad-request", f"{LAST} must be the id of an event", path=LAST)
    return int(text)


async def _frames(services: Services, pool: Pool, job: Job, last: int) -> AsyncIterator[bytes]:
    told: Progress | None = None
    while True:
        steps = enumerate(job.steps, job.forgotten + 1)
        new = [(number, step) for number, step in steps if number > last]
        end = [] if job.is_open else new[-1:]  # nothing is told after it
        for number, step in new[: len(new) - len(end)]:
            yield _frame("state", _state(step), number)
        progress = job.progress or pool.jobs.view.progress.get(job.id)
        if progress is not None and not _same(progress, told) and (job.is_open or end):
            told = progress
            yield _frame("progress", _progress(progress))
        for number, step in end:
            yield _frame("state", _state(step), number)
        last = new[-1][0] if new else last
        if not job.is_open or services.life.draining:
            return
        job = await newer(pool, job, LOOK_SECONDS)


def _same(one: Progress, other: Progress | None) -> bool:
    return other is not None and _progress(one) == _progress(other)


def _progress(progress: Progress) -> bytes:
    return _encode({"done": progress.done, "total": progress.total, "message": progress.message})


def _state(step: Step) -> bytes:
    told = {"state": step.state, "at": step.at, "attempt": step.attempt}
    return _encode(told | ({"problem": step.problem} if step.problem else {}))


def _frame(kind: str, data: bytes, number: int | None = None) -> bytes:
    id_ = f"id: {number}\n" if number is not None else ""
    return f"{id_}event: {kind}\ndata: {data.decode()}\n\n".encode()
