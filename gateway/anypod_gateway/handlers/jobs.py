"""Jobs: what became of them, what they gave, and their end.

A job is its caller's: nobody else finds it, but for those who may administer the pool.
"""

import asyncio
from collections.abc import Callable

from aiohttp import web

from anypod.api.jobs import STATES, is_job_id
from anypod.api.problems import AnyPodError, error
from anypod.store.job_records import Job, Printed
from anypod.store.kv import Conflict
from anypod_gateway import answers, requests
from anypod_gateway.calls import CALL
from anypod_gateway.executions import ExecutionInfo
from anypod_gateway.handlers.accepting import APPLIED, PREFER, document, owner_of, preferences
from anypod_gateway.services import SERVICES, Pool, Services
from anypod_gateway.whole import Whole

MAX_WAIT_SECONDS = 60
LOOK_SECONDS = 5.0
"""For a watch that is late or away."""


async def list_jobs(request: web.Request) -> web.Response:
    services, call = request.app[SERVICES], request[CALL]
    pool = await services.pool(request, call)
    after, limit = requests.page(request.query)
    if after and not is_job_id(after):
        raise error("bad-request", "after must be the `next` of a page", path="after")
    owner = None if await _may_see_all(request, services, pool) else owner_of(call)
    page = await pool.jobs.store.page(_wanted(request, owner), after=after, limit=limit)
    items = [document(pool, job).model_dump(mode="json") for job in page.items]
    return answers.document({"items": items, "next": page.next})


async def get_job(request: web.Request) -> web.Response:
    pool, job = await found(request)
    wait = preferences(request).get("wait") if PREFER in request.headers else None
    if wait is None or not job.is_open:
        return answers.document(document(pool, job))
    job = await _awaited(request.app[SERVICES], pool, job, _seconds(wait))
    return answers.document(document(pool, job), headers={APPLIED: "wait"})


async def get_job_result(request: web.Request) -> web.StreamResponse:
    pool, job = await found(request)
    if job.is_open:
        raise error("job-not-finished", f"the job is {job.state}", execution=job.execution or None)
    result = await pool.jobs.store.result(job.id)
    if result is None:
        raise no_job(job.id)
    if job.task == "optimize":  # it names the revision that runs from now on
        await pool.programs().confirm()
    if job.status == 200:
        return Whole(answers.run_head(_info(job)), result)
    return answers.problem(answers.decode_problem(result))


async def get_job_logs(request: web.Request) -> web.Response:
    pool, job = await found(request)
    if job.is_open:
        raise error("job-not-finished", f"the job is {job.state}; its logs come with its end")
    logs = await pool.jobs.store.printed(job.id) or Printed()
    return answers.document(
        {"stdout": logs.stdout, "stderr": logs.stderr, "cutBytes": logs.cut_bytes}
    )


async def cancel_job(request: web.Request) -> web.Response:
    pool, job = await found(request)
    now = await pool.jobs.cancel(job.id)
    if now is None:
        raise no_job(job.id)
    return answers.document(document(pool, now), status=202 if now.is_open else 200)


async def delete_job(request: web.Request) -> web.Response:
    pool, job = await found(request)
    if job.is_open:
        raise error("job-not-finished", f"the job is {job.state}; cancel it first")
    while True:
        try:
            await pool.jobs.store.delete(job)
        except Conflict:  # it has just gone, or its end was just told
            job = await _read(pool, job)
        else:
            return web.Response(status=204)


def no_job(job: str) -> AnyPodError:
    return error("job-not-found", f"there is no job {job!r}; it may have been kept long enough")


async def found(request: web.Request) -> tuple[Pool, Job]:
    services, call = request.app[SERVICES], request[CALL]
    pool = await services.pool(request, call)
    name = request.match_info["job"]
    job = await pool.jobs.store.get(name) if is_job_id(name) else None
    if job is None:
        raise no_job(name)
    if job.caller != owner_of(call) and not await _may_see_all(request, services, pool):
        raise no_job(name)
    return pool, job


async def _may_see_all(request: web.Request, services: Services, pool: Pool) -> bool:
    caller, gate = request[CALL].caller, services.gate
    return caller is None or gate is None or await gate.may(caller, "admin", pool.name)


def _wanted(request: web.Request, owner: str | None) -> Callable[[Job], bool]:
    query = request.query
    state = query.get("state")
    if state is not None and state not in STATES:
        raise error("bad-request", f"state is one of {', '.join(STATES)}", path="state")
    equal = {"state": state, "program": query.get("program"), "session": query.get("session")}
    equal |= {"caller": owner}
    asked = {name: value for name, value in equal.items() if value is not None}
    labels = requests.labels(request).items()

    def wanted(job: Job) -> bool:
        return labels <= job.labels.items() and all(
            getattr(job, name) == value for name, value in asked.items()
        )

    return wanted


# waiting


def _seconds(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise error("bad-request", "Prefer: wait=SECONDS", path=PREFER)
    return min(int(text.lstrip("0")[:5] or "0"), MAX_WAIT_SECONDS)


async def _awaited(services: Services, pool: Pool, job: Job, seconds: float) -> Job:
    """The job when it is final, or when the time is over; soon, if this gateway goes."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while job.is_open and not services.life.draining and (left := until - loop.time()) > 0:
        job = await newer(pool, job, min(left, LOOK_SECONDS))
    return job


async def newer(pool: Pool, job: Job, seconds: float) -> Job:
    """The job once something is new about it, or after that time."""
    news = asyncio.ensure_future(pool.jobs.view.news(job.id))
    try:
        await asyncio.sleep(0)  # it waits now: what comes from here on wakes it
        now = await _read(pool, job)
        if now.version == job.version:
            await asyncio.wait({news}, timeout=seconds)
            now = await _read(pool, job)
        return now
    finally:
        news.cancel()


async def _read(pool: Pool, job: Job) -> Job:
    now = await pool.jobs.store.get(job.id)
    if now is None:
        raise no_job(job.id)
    return now


def _info(job: Job) -> ExecutionInfo:
    return ExecutionInfo(
        execution=job.execution,
        program=job.program,
        revision=job.told_revision,
        worker=job.worker,
        attempt=job.attempts,
        queue_seconds=job.queue_seconds,
        run_seconds=job.run_seconds,
        session=job.session,
    )
