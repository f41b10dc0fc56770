"""The one table of errors, as RFC 9457 problem documents.

The ``type`` member is a relative URI reference equal to the name in the table: stable, short to
compare, and the last segment of its page in the docs.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

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
    "session-not-found": ProblemType(404, "There is no such session"),
    "worker-not-found": ProblemType(404, "There is no such worker"),
    "job-not-found": ProblemType(404, "There is no such job"),
    "method-not-allowed": ProblemType(405, "The resource does not take this method"),
    "already-exists": ProblemType(409, "The id is taken by other content"),
    "revision-conflict": ProblemType(409, "The program has changed meanwhile"),
    "session-state-conflict": ProblemType(409, "The session has moved or changed meanwhile"),
    "session-busy": ProblemType(409, "The session is running another call"),
    "session-lost": ProblemType(410, "The session's worker died, and its policy is to fail"),
    "answer-not-kept": ProblemType(410, "It ran; its answer was too large to be kept"),
    "too-large": ProblemType(413, "The request is larger than the limit"),
    "unsupported-media-type": ProblemType(415, "The body must be application/json"),
    "invalid-program": ProblemType(422, "The program cannot be loaded"),
    "invalid-inputs": ProblemType(422, "The inputs do not fit the program"),
    "idempotency-key-reused": ProblemType(422, "The key was given with another request"),
    "too-many-attempts": ProblemType(429, "Too many unknown keys came from this address"),
    "queue-full": ProblemType(429, "The pool's queue is full"),
    "program-error": ProblemType(500, "The program raised an exception"),
    "program-exited": ProblemType(500, "The program ended its process"),
    "program-crashed": ProblemType(500, "The program's process was killed by a signal"),
    "out-of-memory": ProblemType(500, "The program needs more memory than its limit"),
    "output-not-serializable": ProblemType(500, "The program's outputs are not JSON"),
    "output-too-large": ProblemType(500, "The program's outputs are larger than the limit"),
    "internal-error": ProblemType(500, "AnyPod itself failed"),
    "worker-lost": ProblemType(502, "The worker was lost; the execution may have happened"),
    "no-worker": ProblemType(503, "No worker became free in time"),
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
)
"""What a program answers by itself: another run of it would be told the same."""


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
    logs: dict[str, Any] | None = None


def problem(type_: str, detail: str, **members: Any) -> Problem:
    """A problem of the table. Raises KeyError for a type that is not in it."""
    row = TABLE[type_]
    return Problem(type=type_, title=row.title, status=row.status, detail=detail, **members)


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
