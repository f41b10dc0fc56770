"""A run whose caller does not wait (RFC 7240, ``Prefer: respond-async``): it becomes a job."""

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
from aiohttp import web
from multidict import istr

from anypod.api import webhooks
from anypod.api.idempotency import HEADER, REPLAYED
from anypod.api.jobs import MAX_ATTEMPTS, MAX_PRIORITY, JobDocument, TaskKind, new_job_id
from anypod.api.problems import AnyPodError, error
from anypod.store.checks import Write
from anypod.store.job_records import Job
from anypod.store.kv import StoreUnavailable
from anypod.store.once import Answer
from anypod.wire.messages import Code
from anypod_gateway import requests
from anypod_gateway.answers import JSON_TYPE
from anypod_gateway.calls import CALL, Call
from anypod_gateway.executions import ExecutionRequest
from anypod_gateway.failures import store_away
from anypod_gateway.handlers.keyed import keyed
from anypod_gateway.jobs import documents
from anypod_gateway.once import Keyed
from anypod_gateway.services import Pool

PREFER = istr("Prefer")
WEBHOOK = istr(webhooks.HEADER)
"""Both looked up in half the time."""
APPLIED = "Preference-Applied"
RESPOND_ASYNC = "respond-async"
OF_JOBS = ("priority", "notBefore", "maxAttempts", "label")
MAX_LABELS = 16
LONGEST_LABEL = 100
_IDEMPOTENT_ATTEMPTS = 3
_NUMBER = re.compile(r"-?[0-9]{1,4}")


def preferences(request: web.Request) -> dict[str, str]:
    """What ``Prefer`` says, by name; what stands twice is taken as it first stood."""
    found: dict[str, str] = {}
    for part in ",".join(request.headers.getall(PREFER, ())).split(","):
        name, _, value = part.partition(";")[0].partition("=")
        found.setdefault(name.strip().lower(), value.strip().strip('"'))
    return found


def prefers_async(request: web.Request) -> bool:
    return RESPOND_ASYNC in preferences(request)


def check_no_job(request: web.Request, instead: str) -> None:
    """That nothing is said which only a job could heed. Raises AnyPodError."""
    if WEBHOOK in request.headers:
        why = f"{webhooks.HEADER} is for jobs, whose end is told: {instead}"
        raise error("bad-request", why, path=webhooks.HEADER)
    for name in OF_JOBS if request.query_string else ():
        if name in request.query:
            raise error("bad-request", f"?{name} is for jobs: {instead}", path=name)


async def accept(
    request: web.Request,
    pool: Pool,
    execution: ExecutionRequest,
    body: bytes,
    seconds: float,
    *,
    task: TaskKind | None = None,
    task_of: str = "",
) -> web.Response:
    """202 once it is committed; ``seconds`` are those that its execution may take; ``task_of`` is
    the revision that is evaluated or optimised."""
    # Its attempts have ids of their own: this one never is.
    request[CALL].execution = ""
    execution = msgspec.structs.replace(execution, execution="")
    url = request.headers.get(WEBHOOK)
    webhook = await pool.webhooks.asked(url) if url is not None else None
    job = _job(request, execution, seconds, task, task_of)
    job = msgspec.structs.replace(job, webhook=webhook).to("queued", datetime.now(UTC))
    has_own = task_of or not execution.program
    code = await execution.code() if has_own else None
    kind = f"job?{request.query_string}" + (f"#{url}" if url is not None else "")
    call = keyed(request, execution, body, kind) if HEADER in request.headers else None
    try:
        return await _accept(pool, job, execution.inputs, code, call)
    except StoreUnavailable:
        raise AnyPodError(store_away("whether the job is accepted is not known")) from None


async def _accept(
    pool: Pool, job: Job, inputs: bytes, code: Code | None, call: Keyed | None
) -> web.Response:
    async def enqueue(*also: Write, when: Sequence[tuple[str, int]] = ()) -> None:
        if job.webhook is not None:
            pool.webhooks.check_room(job.caller)
        await pool.jobs.accept(job, inputs, code, also=also, when=when)

    if call is None:
        await enqueue()
        return _accepted(pool, job.id, encoded(pool, job), replayed=False)

    async def commit(write: Write, when: tuple[str, int]) -> None:
        await enqueue(write, when=[when])

    first = Answer(202, job.id, encoded(pool, job).decode())
    answer, replayed = await pool.once.accept(call, first, commit)
    if replayed and await pool.jobs.store.get(answer.head) is None:
        why = f"it became the job {answer.head}, which was deleted, or has been kept long enough"
        raise error("answer-not-kept", why)
    return _accepted(pool, answer.head, (answer.body or "").encode(), replayed=replayed)


def _accepted(pool: Pool, job: str, body: bytes, *, replayed: bool) -> web.Response:
    headers = {"Location": f"/v1/pools/{pool.name}/jobs/{job}", APPLIED: RESPOND_ASYNC}
    if replayed:
        headers[REPLAYED] = "true"
    return web.Response(status=202, body=body, content_type=JSON_TYPE, headers=headers)


def _job(
    request: web.Request,
    execution: ExecutionRequest,
    seconds: float,
    task: TaskKind | None,
    task_of: str,
) -> Job:
    query = request.query
    # The budget of a task is of each attempt: whoever gave one has not given three.
    usual = _IDEMPOTENT_ATTEMPTS if execution.idempotent and task is None else 1
    return Job(
        id=new_job_id(),
        program=execution.program,
        revision=execution.revision,
        timeout_seconds=seconds,
        created_at=datetime.now(UTC),
        caller=owner_of(request[CALL]),
        session=execution.session,
        labels=_labels(request),
        priority=_number(query.get("priority", "0"), "priority", -MAX_PRIORITY, MAX_PRIORITY),
        not_before=_time(query.get("notBefore")),
        idempotent=execution.idempotent,
        max_attempts=_attempts(query.get("maxAttempts"), usual, execution),
        lm=execution.lm,
        shows_replies=execution.shows_replies,
        concurrency=execution.concurrency,
        kind=execution.kind,
        task=task,
        task_of=task_of,
    )


def owner_of(call: Call) -> str:
    """Whose a job is; empty where nobody is asked who they are."""
    caller = call.caller
    return f"{type(caller).__name__}:{caller.name}" if caller is not None else ""


def _attempts(given: str | None, usual: int, execution: ExecutionRequest) -> int:
    if given is None:
        return usual
    attempts = _number(given, "maxAttempts", 1, MAX_ATTEMPTS)
    if attempts > 1 and not execution.idempotent:
        raise error(
            "bad-request",
            "only a program that is declared idempotent can be run more than once",
            path="maxAttempts",
        )
    return attempts


def _number(text: str, path: str, least: int, most: int) -> int:
    if _NUMBER.fullmatch(text) is None or not least <= int(text) <= most:
        raise error("bad-request", f"{path} must be a number from {least} to {most}", path=path)
    return int(text)


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    with suppress(ValueError, OverflowError):  # no time, or in no year of UTC
        time = datetime.fromisoformat(text.replace(" ", "+"))  # a plus that was not quoted
        if time.tzinfo is not None:
            return time.astimezone(UTC)
    raise error(
        "bad-request",
        "notBefore must be a time with its zone, such as 2030-01-31T18:00:00Z",
        path="notBefore",
    )


def _labels(request: web.Request) -> dict[str, str]:
    labels = requests.labels(request)
    if len(labels) > MAX_LABELS:
        raise error("bad-request", f"a job may have {MAX_LABELS} labels", path="label")
    for key, value in labels.items():
        if max(len(key), len(value)) > LONGEST_LABEL:
            raise error("bad-request", f"a label may have {LONGEST_LABEL} characters", path="label")
    return labels


def document(pool: Pool, job: Job) -> JobDocument:
    return documents.document(pool.name, job, pool.jobs.view.progress.get(job.id))


def encoded(pool: Pool, job: Job) -> bytes:
    return document(pool, job).model_dump_json().encode()
