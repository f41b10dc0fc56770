"""What the store keeps of a job.

A small record, so that a list reads nothing large; what the job was given and what it gave lie
beside it. An open job (queued or running) has an entry that all gateways watch, and that does not
change while it is open: its version is the order in which jobs were accepted.
"""

from datetime import datetime

import msgspec

from anypod.api.jobs import OPEN, State, TaskKind
from anypod.api.webhooks import DeliveryState, origin_of
from anypod.dspy.spec import LmChoice
from anypod.store.records import Record
from anypod.wire.messages import PYTHON, Code

STEPS_KEPT = 64


class Step(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A state that a job came to."""

    state: State
    at: datetime
    attempt: int = 0
    problem: str = ""


class Progress(Record, frozen=True, kw_only=True):
    done: float
    total: float | None = None
    message: str = ""


class Pause(Record, frozen=True, kw_only=True):
    """A job waits between two attempts."""

    seconds: float
    """From when a gateway sees this: clocks are not compared."""


class Webhook(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who is to be told of a job's end, and whether that was done."""

    url: str
    state: DeliveryState = "waiting"
    attempts: int = 0
    problem: str = ""
    """Of the last attempt."""


class Job(Record, frozen=True, kw_only=True):
    id: str
    program: str
    """Empty for one that came with the call."""
    revision: str
    timeout_seconds: float
    created_at: datetime
    caller: str = ""
    """Whose it is; empty where nobody is asked who they are."""
    session: str | None = None
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    priority: int = 0
    not_before: datetime | None = None
    """As its caller has it."""
    waits_until: datetime | None = None
    """Between two attempts."""
    idempotent: bool = False
    max_attempts: int = 1
    lm: LmChoice | None = None
    """What the caller, or the session, says of the LM."""
    shows_replies: bool = True
    """Its caller may see what an LM said that could not be used."""
    concurrency: int = 1
    """Executions of the revision that may share an executor, as the program says."""
    webhook: Webhook | None = None
    kind: str = PYTHON
    """Of the program."""
    task: TaskKind | None = None
    """What is done with the program; None: it is run."""
    task_of: str = ""
    """The program's revision that it evaluates or optimises; ``revision`` names what runs."""
    state: State = "queued"
    attempts: int = 0
    unbegun: int = 0
    """How often in a row an attempt has not begun, though a gateway had it."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    execution: str = ""
    worker: str = ""
    queue_seconds: float = 0.0
    run_seconds: float = 0.0
    status: int = 0
    """Of its result, as of the answer of a call that had waited."""
    problem: str = ""
    detail: str = ""
    progress: Progress | None = None
    steps: tuple[Step, ...] = ()
    """The last STEPS_KEPT states."""
    forgotten: int = 0
    """States before those."""

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def told_revision(self) -> str:
        """The one that the program has."""
        return self.task_of or self.revision

    @property
    def may_run_again(self) -> bool:
        return self.idempotent and self.attempts < self.max_attempts

    def to(self, state: State, at: datetime, **changes: object) -> "Job":
        """The job in that state."""
        changed: Job = msgspec.structs.replace(self, state=state, **changes)
        problem = "" if state == "running" else changed.problem  # else of the attempt before
        steps = (*changed.steps, Step(state, at, changed.attempts, problem))
        return msgspec.structs.replace(
            changed,
            steps=steps[-STEPS_KEPT:],
            forgotten=changed.forgotten + max(0, len(steps) - STEPS_KEPT),
        )


class OpenJob(Record, frozen=True, kw_only=True):
    """What gateways must know of a job to choose the next one."""

    id: str
    revision: str = ""
    concurrency: int = 1
    priority: int = 0
    session: str | None = None
    not_before: datetime | None = None
    webhook_of: str = ""
    """The caller who is to be told of its end, where callers are known."""

    @classmethod
    def of(cls, job: Job) -> "OpenJob":
        return cls(
            id=job.id,
            revision=job.revision,
            concurrency=job.concurrency,
            priority=job.priority,
            session=job.session,
            not_before=job.not_before,
            webhook_of=job.caller if job.webhook is not None else "",
        )


class Delivery(Record, frozen=True, kw_only=True):
    """What gateways must know of an end that is to be told."""

    job: str
    caller: str = ""
    """Whose job it is; empty where nobody is asked who they are."""
    origin: str = ""
    """Where to."""
    pause: float = 0.0
    """Seconds until the next attempt, from when a gateway sees this: clocks are not compared."""

    @classmethod
    def of(cls, job: Job, webhook: Webhook, pause: float = 0.0) -> "Delivery":
        origin = origin_of(webhook.url)
        return cls(job=job.id, caller=job.caller, origin=origin, pause=pause)


class Claim(Record, frozen=True, kw_only=True):
    """A gateway is at it; gone with that gateway's lease."""

    owner: str
    """The gateway's name, for people."""
    slot: int


class JobCode(Record, frozen=True, kw_only=True):
    """A program that came with the call."""

    code: Code


class Printed(Record, frozen=True, kw_only=True):
    stdout: str = ""
    stderr: str = ""
    cut_bytes: int = 0
