"""The one table of errors, as RFC 9457 problem documents.

The ``type`` member is a relative URI reference equal to the name in the table: stable, short to
compare, and the last segment of its page in the docs.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from anypod.api.usage import Usage
from anypod.wire.messages import Failure

CONTENT_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class ProblemType:
    status: int
    title: str


TABLE: dict[str, ProblemType] = {
    "bad-request": ProblemType(400, "The request cannot be understood"),
    "unauthenticated": ProblemType(401, "The caller is not known"),
    "forbidden": ProblemType(403, "The caller may not do this"),
    "not-found": ProblemType(404, "There is no such resource"),
    "pool-not-found": ProblemType(404, "There is no such pool"),
    "program-not-found": ProblemType(404, "There is no such program"),
    "revision-not-found": ProblemType(404, "The program has no such revision"),
    "session-not-found": ProblemType(404, "There is no such session"),
    "worker-not-found": ProblemType(404, "There is no such worker"),
    "job-not-found": ProblemType(404, "There is no such job"),
    "method-not-allowed": ProblemType(405, "The resource does not take this method"),
    "already-exists": ProblemType(409, "The id is taken by other content"),
    "revision-conflict": ProblemType(409, "The program has changed meanwhile"),
    "session-state-conflict": ProblemType(409, "The session has moved or changed meanwhile"),
    "session-busy": ProblemType(409, "The session is running another call"),
    "job-not-finished": ProblemType(409, "The job has not ended yet"),
    "job-cancelled": ProblemType(409, "The job was cancelled"),
    "session-lost": ProblemType(410, "The session's worker died, and its policy is to fail"),
    "answer-not-kept": ProblemType(410, "The answer is not kept"),
    "too-large": ProblemType(413, "The request is larger than the limit"),
    "unsupported-media-type": ProblemType(415, "The body's media type is not taken here"),
    "invalid-program": ProblemType(422, "The program cannot be loaded"),
    "invalid-inputs": ProblemType(422, "The inputs do not fit the program"),
    "lm-context-window": ProblemType(422, "The prompt is longer than the LM can take"),
    "budget-spent": ProblemType(422, "What it might take at most is used up"),
    "idempotency-key-reused": ProblemType(422, "The key was given with another request"),
    "too-many-attempts": ProblemType(429, "Too many unknown keys came from this address"),
    "queue-full": ProblemType(429, "The pool's queue is full"),
    "lm-rate-limited": ProblemType(429, "The LM's provider takes no more calls for a while"),
    "program-error": ProblemType(500, "The program raised an exception"),
    "program-exited": ProblemType(500, "The program ended its process"),
    "program-crashed": ProblemType(500, "The program's process was killed by a signal"),
    "out-of-memory": ProblemType(500, "The program needs more memory than its limit"),
    "output-not-serializable": ProblemType(500, "The program's outputs are not JSON"),
    "output-too-large": ProblemType(500, "The program's outputs are larger than the limit"),
    "model-output-unusable": ProblemType(500, "The LM's reply does not fit the program"),
    "internal-error": ProblemType(500, "AnyPod itself failed"),
    "worker-lost": ProblemType(502, "The worker was lost; the execution may have happened"),
    "lm-auth": ProblemType(502, "The LM's provider refuses the pool's key or settings"),
    "lm-refused": ProblemType(502, "The LM's provider refuses the request"),
    "no-worker": ProblemType(503, "No worker became free in time"),
    "lm-unavailable": ProblemType(503, "The LM does not answer as it should"),
    "authentication-unavailable": ProblemType(503, "Who calls cannot be found out now"),
    "store-unavailable": ProblemType(503, "The store does not answer"),
    "deadline-exceeded": ProblemType(504, "The execution did not end in time"),
}

OF_THE_PROGRAM = (
    "invalid-inputs",
    "program-error",
    "program-exited",
    "program-crashed",
    "out-of-memory",
    "output-not-serializable",
    "output-too-large",
    "lm-context-window",
    "lm-rate-limited",
    "model-output-unusable",
    "lm-auth",
    "lm-refused",
    "lm-unavailable",
)
"""What a program's run ends in by itself: it has run, and what it did has had its effect."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A problem document; members beside the five of RFC 9457 are present when they are known."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    execution: str | None = None
    program: str | None = None
    revision: str | None = None
    worker: str | None = None
    attempt: int | None = None
    session: str | None = None
    exception: str | None = None
    message: str | None = None
    traceback: str | None = None
    line: int | None = None
    path: str | None = None
    errors: list[dict[str, str]] | None = None
    exit_code: int | None = None
    signal: str | None = None
    limit: int | None = None
    retry_after: int | None = None
    """Seconds; also the header Retry-After."""
    model_output: str | None = None
    """What the LM said that cannot be used, for callers who may write programs."""
    usage: Usage | None = None
    """What was asked of an LM nevertheless."""
    logs: dict[str, Any] | None = None


def problem(type_: str, detail: str, **members: Any) -> Problem:
    """A problem of the table. Raises KeyError for a type that is not in it."""
    row = TABLE[type_]
    # A name of a header that is quick to look up is a kind of str that msgspec does not write.
    plain: dict[str, Any] = {
        name: str(value) if isinstance(value, str) else value for name, value in members.items()
    }
    return Problem(type=type_, title=row.title, status=row.status, detail=detail, **plain)


def from_failure(failure: Failure, **members: Any) -> Problem:
    """The problem of what a worker reported, with what the gateway knows of the execution."""
    told = {
        name: value
        for name in failure.__struct_fields__
        if name not in {"type", "detail"} and (value := getattr(failure, name)) is not None
    }
    type_ = failure.type if failure.type in TABLE else "internal-error"
    return problem(type_, failure.detail, **told, **members)


class AnyPodError(Exception):
    """An error that has a problem document: raised inside the gateway, and by the clients."""

    def __init__(self, document: Problem) -> None:
        super().__init__(f"{document.type}: {document.detail}")
        self.problem = document

    @property
    def type(self) -> str:
        return self.problem.type

    @property
    def status(self) -> int:
        return self.problem.status


def error(type_: str, detail: str, **members: Any) -> AnyPodError:
    """The exception of ``problem(...)``."""
    return AnyPodError(problem(type_, detail, **members))
