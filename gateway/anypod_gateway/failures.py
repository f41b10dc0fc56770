"""The one mapping from what is raised to what a client is told."""

import logging

from anypod.api.problems import AnyPodError, Problem, problem
from anypod.store.keys import InvalidName
from anypod.store.kv import StoreUnavailable, ValueTooLarge
from anypod.store.program_records import (
    AlreadyExists,
    ProgramNotFound,
    RevisionConflict,
    RevisionNotFound,
)
from anypod.store.sessions import SessionEnded, StateConflict
from anypod_gateway.calls import Call

log = logging.getLogger(__name__)

STORE_RETRY_SECONDS = 1

_RUNS = ("/run", "/map")

_STORE: dict[type[Exception], str] = {
    AlreadyExists: "already-exists",
    InvalidName: "bad-request",
    ProgramNotFound: "program-not-found",
    RevisionConflict: "revision-conflict",
    RevisionNotFound: "revision-not-found",
    SessionEnded: "session-not-found",
    StateConflict: "session-state-conflict",
}


def problem_of(failure: Exception, call: Call) -> Problem:
    """Notes on the call that it went wrong, too. What nobody foresaw is logged with its stack,
    and the client learns nothing of it."""
    told = _problem_of(failure, call)
    call.problem = told.type
    call.execution = call.execution or told.execution or ""
    call.worker = told.worker or call.worker
    return told


def store_away(became: str) -> Problem:
    """``became``: what is known of what was asked for."""
    detail = f"the store did not answer in time; {became}"
    return problem("store-unavailable", detail, retry_after=STORE_RETRY_SECONDS)


def _problem_of(failure: Exception, call: Call) -> Problem:
    match failure:
        case AnyPodError():
            return failure.problem
        case StoreUnavailable():
            # What a run asks the store for, it asks for before it begins. Where something ran
            # before, or a session's state was to be written, the run says so itself.
            is_run = call.route.endswith(_RUNS)
            became = "nothing has run" if is_run else "a write may or may not have happened"
            return store_away(became)
        case ValueTooLarge():
            return problem(
                "too-large",
                f"{failure.size} bytes to keep; the store takes {failure.limit}",
                limit=failure.limit,
            )
    type_ = _STORE.get(type(failure))
    if type_ is not None:
        return problem(type_, str(failure))
    log.error("a handler failed: %s", call.route, exc_info=failure)
    return problem("internal-error", "AnyPod failed; its log says more")
