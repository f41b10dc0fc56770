"""What a call raises: the gateway's problem as one of a few families, or that there is no answer.

Catch ``AnyPodError`` for whatever a gateway said, a family for one kind of it, and look at
``.type`` for the exact row of the table. Without an answer there is no problem document:
those are ``NoAnswer``, a ``ConnectionError``.
"""

import os

import msgspec

from anypod.api.problems import AnyPodError, Problem


class Refused(AnyPodError):
    """The gateway will not do it (4xx). Nothing ran, but before a ``session-state-conflict``,
    ``answer-not-kept``, ``budget-spent`` or ``job-cancelled``: look at ``.type``."""


class NotFound(Refused):
    """No such pool, program, revision, session, job or worker."""


class Conflict(Refused):
    """It exists otherwise, has changed meanwhile, or is lost (409, 410). What a session's state was
    changed for meanwhile (``session-state-conflict``) has run, and its state is not kept."""


class InvalidProgram(Refused):
    """The program cannot be loaded; ``.problem.line`` says where, if that is known."""


class InvalidInputs(Refused):
    """The inputs do not fit the program; ``.problem.errors`` names each field."""


class ProgramFailed(AnyPodError):
    """The program ran, and it is its own fault that there are no outputs (500)."""


class LmFailed(AnyPodError):
    """The program ran, and its LM or the LM's provider is to blame that there are no outputs."""


class Unavailable(AnyPodError):
    """Busy, or something that is needed is away for now (429, 503)."""


class WorkerLost(AnyPodError):
    """The worker died meanwhile; the execution may have happened (502)."""


class DeadlineExceeded(AnyPodError):
    """The execution was stopped at its deadline (504)."""


class NoAnswer(ConnectionError):
    """There is no answer of a gateway to this call."""


class Unreachable(NoAnswer):
    """No connection could be made: nothing was sent, nothing ran."""


class AnswerLost(NoAnswer):
    """The connection broke after the call was sent: it may have happened."""


class TimedOut(NoAnswer, TimeoutError):
    """The client stopped waiting; a call that ran is being cancelled."""


class UnexpectedAnswer(NoAnswer):
    """Something answered that does not speak AnyPod's API."""


_BY_TYPE: dict[str, type[AnyPodError]] = {
    "invalid-program": InvalidProgram,
    "invalid-inputs": InvalidInputs,
    "internal-error": AnyPodError,
    "too-many-attempts": Refused,
    "lm-rate-limited": LmFailed,
    "lm-context-window": LmFailed,
    "model-output-unusable": LmFailed,
    "lm-auth": LmFailed,
    "lm-refused": LmFailed,
    "lm-unavailable": LmFailed,
}
_BY_STATUS: dict[int, type[AnyPodError]] = {
    404: NotFound,
    409: Conflict,
    410: Conflict,
    429: Unavailable,
    500: ProgramFailed,
    502: WorkerLost,
    503: Unavailable,
    504: DeadlineExceeded,
}

_decode = msgspec.json.Decoder(Problem).decode


def error_of(document: Problem) -> AnyPodError:
    family = _BY_TYPE.get(document.type) or _BY_STATUS.get(document.status)
    if family is None:
        family = Refused if 400 <= document.status < 500 else AnyPodError
    return family(document)


def error_from(status: int, body: bytes) -> AnyPodError | UnexpectedAnswer:
    """The exception for an answer that is not a success."""
    try:
        return error_of(_decode(body))
    except msgspec.DecodeError:
        shown = " ".join(body[:200].decode(errors="replace").split())
        return UnexpectedAnswer(f"HTTP {status} without a problem document: {shown or 'no body'}")


def reason(failure: BaseException) -> str:
    """What the system said went wrong, without the library's words around it."""
    root = failure.__cause__ or failure
    if isinstance(root, OSError) and root.errno and root.errno > 0:
        return os.strerror(root.errno)
    return str(root)
