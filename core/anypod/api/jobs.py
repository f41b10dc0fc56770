"""Jobs as clients get them: runs whose callers do not wait."""

import os
import re
import time
from datetime import datetime
from typing import Any, Literal

from anypod.api.documents import AnswerModel, Listing
from anypod.api.webhooks import DeliveryState

JOB_ID = r"^j-[0-9a-f]{32}$"
State = Literal["queued", "running", "succeeded", "failed", "cancelled", "lost"]
STATES: tuple[State, ...] = ("queued", "running", "succeeded", "failed", "cancelled", "lost")
TaskKind = Literal["evaluate", "optimize"]
OPEN: frozenset[State] = frozenset({"queued", "running"})
"""The others are final."""

MAX_ATTEMPTS = 10
MAX_PRIORITY = 100

_job_id = re.compile(JOB_ID[1:-1])
_LAST_MS = (1 << 48) - 1


def is_job_id(text: str) -> bool:
    return _job_id.fullmatch(text) is not None


def new_job_id() -> str:
    """Later ones come first in their order, so that a list begins with them."""
    return f"j-{_LAST_MS - int(time.time() * 1000):012x}{os.urandom(10).hex()}"


class JobProgress(AnswerModel):
    """What the program last said by ``anypod.progress``."""

    done: float
    total: float | None = None
    message: str = ""


class WebhookDocument(AnswerModel):
    """How it stands with telling of a job's end."""

    origin: str
    """Of the address; the rest of it may be secret."""
    state: DeliveryState
    """waiting: the job has not ended; pending: it has, and the receiver has not said yes yet."""
    attempts: int
    """How often it was tried."""
    problem: str | None
    """What the last attempt ended with, if that was no success."""


class JobDocument(AnswerModel):
    """A job, without its outputs."""

    id: str
    pool: str
    program: str | None
    """Null for a program that came with the call."""
    revision: str
    """What runs, whatever becomes of the program meanwhile."""
    task: TaskKind | None = None
    """What is done with the program; null: it is run."""
    session: str | None
    state: State
    labels: dict[str, str]
    priority: int
    not_before: datetime | None
    attempts: int
    """How often it has begun to run."""
    max_attempts: int
    created_at: datetime
    started_at: datetime | None
    """Of the last attempt."""
    finished_at: datetime | None
    execution: str | None
    """Of the last attempt."""
    worker: str | None
    """Which ran it to its end, as far as that is known."""
    progress: JobProgress | None
    problem: dict[str, Any] | None
    """``type`` and ``detail`` of what the last attempt ended with, if that was no success."""
    webhook: WebhookDocument | None = None
    """Null for a job that nobody is told of."""


class JobList(Listing[JobDocument]):
    """Jobs, the latest first."""
