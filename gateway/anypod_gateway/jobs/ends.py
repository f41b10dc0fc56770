"""What a job becomes: its next attempt, or its end and all that it leaves. No I/O."""

from bisect import bisect_right
from dataclasses import replace
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
"""Bytes of each stream, as the JSON that the store keeps: there, a character may take six."""

_encode = msgspec.json.encode


def attempt_of(job: Job, now: datetime) -> Job:
    """The job, as its next attempt begins."""
    return msgspec.structs.replace(
        job,
        attempts=job.attempts + 1,
        waits_until=None,
        started_at=now,
        execution=new_execution_id(),
        worker="",
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


def broken(job: Job) -> Ended:
    """What nobody foresaw; nothing goes into it of what it may have come from."""
    why = problem("internal-error", "AnyPod failed; its log says more", **_members(job))
    return _ended(job, "failed", why, None)


def unprinted(ended: Ended) -> Ended:
    """Says how much was printed, and has none of it."""
    printed = ended.printed
    if printed is None:
        return ended
    cut = printed.cut_bytes + len(printed.stdout.encode()) + len(printed.stderr.encode())
    return replace(ended, printed=Printed(cut_bytes=cut))


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
    whole = [text.encode(errors="replace").decode() for text in (stdout, stderr)]
    first, second = kept = [_beginning(text) for text in whole]
    lost_bytes = sum(len(text.encode()) for text in whole) - sum(
        len(text.encode()) for text in kept
    )
    return Printed(stdout=first, stderr=second, cut_bytes=cut + lost_bytes)


def _beginning(text: str) -> str:
    """As much of it as may be kept."""
    if _size(text) <= PRINTED_KEPT:
        return text
    lengths = range(1, PRINTED_KEPT + 1)
    return text[: bisect_right(lengths, PRINTED_KEPT, key=lambda length: _size(text[:length]))]


def _size(text: str) -> int:
    return len(_encode(text)) - len('""')
