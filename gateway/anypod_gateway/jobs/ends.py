"""What a job becomes: its next attempt, or its end and all that it leaves. No I/O."""

from datetime import UTC, datetime

import msgspec

from anypod.api import usage
from anypod.api.ids import new_execution_id
from anypod.api.jobs import State
from anypod.api.problems import Problem, problem
from anypod.store.job_records import Job, Printed, Progress
from anypod.store.jobs import Ended
from anypod.wire import messages

PRINTED_KEPT = 128 * 1024
"""Bytes of each stream."""

_encode = msgspec.json.encode


def attempt_of(job: Job, now: datetime) -> Job:
    """The job, as its next attempt begins."""
    return msgspec.structs.replace(
        job, attempts=job.attempts + 1, started_at=now, execution=new_execution_id(), worker=""
    ).to("running", now)


def final(job: Job, state: State, **changes: object) -> Job:
    now = datetime.now(UTC)
    return job.to(state, now, finished_at=now, **changes)


def cancelled(
    job: Job, progress: Progress | None = None, used: messages.Usage | None = None
) -> Ended:
    why = problem("job-cancelled", "the job was cancelled", usage=usage.told(used), **_members(job))
    return _ended(job, "cancelled", why, progress)


def lost(job: Job, progress: Progress | None = None) -> Ended:
    why = problem(
        "worker-lost",
        "the gateway that ran it was lost; the execution may have happened",
        **_members(job),
    )
    return _ended(job, "lost", why, progress)


def _ended(job: Job, state: State, why: Problem, progress: Progress | None) -> Ended:
    ended = final(
        job, state, progress=progress, status=why.status, problem=why.type, detail=why.detail
    )
    return Ended(ended, _encode(why))


def _members(job: Job) -> dict[str, str | None]:
    return {
        "execution": job.execution or None,
        "program": job.program or None,
        "revision": job.told_revision,
        "session": job.session,
    }


def printed_of(output: messages.Output | None) -> Printed | None:
    return None if output is None else _cut(output.stdout, output.stderr, output.cut_bytes)


def logged(why: Problem) -> Printed | None:
    if why.logs is None:
        return None
    return _cut(why.logs["stdout"], why.logs["stderr"], why.logs["cutBytes"])


def _cut(stdout: str, stderr: str, cut: int) -> Printed:
    kept = [text.encode(errors="replace")[:PRINTED_KEPT] for text in (stdout, stderr)]
    lost_bytes = len(stdout.encode(errors="replace")) + len(stderr.encode(errors="replace"))
    lost_bytes -= sum(map(len, kept))
    first, second = (text.decode(errors="ignore") for text in kept)
    return Printed(stdout=first, stderr=second, cut_bytes=cut + lost_bytes)
