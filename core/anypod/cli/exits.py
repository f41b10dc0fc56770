"""Exit codes, and what is said on stderr for each failure: what, where, and what to do."""

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING

from anypod.cli import printed
from anypod.printable import printable

if TYPE_CHECKING:
    from anypod.api.problems import Problem

PROGRAM_FAILED = 1
USAGE = 2
REFUSED = 3
UNREACHABLE = 4
UNAVAILABLE = 5
BUG = 70
"""As ``EX_SOFTWARE`` of sysexits.h."""
UNWRITTEN = 74
"""As ``EX_IOERR``."""
READER_LEFT = 141
"""As of who is ended by SIGPIPE."""
INTERRUPTED = 130

EXPLAINED = (
    "Exit codes: 0 done; 1 the program failed; 2 wrong usage; 3 the gateway refused it; "
    "4 no gateway was reached; 5 busy, out of time, or lost on the way; 70 a bug of AnyPod; "
    "74 the results could not be written; 130 interrupted; 141 nobody reads the results any more; "
    "143 and 129 ended by SIGTERM and SIGHUP."
)

as_json: ContextVar[bool] = ContextVar("as_json", default=False)
"""Whether the command that runs was told to print JSON."""

_TO_DO = {
    "unauthenticated": "give a key: --api-key-file FILE, or ANYPOD_API_KEY",
    "forbidden": "the key may not do this; use another one",
    "too-many-attempts": "the key is unknown; try again later with a good one",
    "authentication-unavailable": "try again when Kubernetes answers the gateway",
    "pool-not-found": "see 'anypod pools list'; choose one with --pool",
    "program-not-found": "see 'anypod programs list'",
    "revision-not-found": "see 'anypod programs revisions'",
    "session-not-found": "see 'anypod sessions list'",
    "job-not-found": "see 'anypod jobs list'",
    "job-not-finished": "see 'anypod jobs get'; wait with 'anypod jobs watch'",
    "worker-not-found": "see 'anypod workers list'",
    "queue-full": "try again later, or give the pool more workers",
    "no-worker": "see 'anypod workers list' for why none was free",
    "deadline-exceeded": "give it more time with --timeout",
    "worker-lost": "it may have run; run it again if that does no harm",
    "session-busy": "try again when its other call has ended",
    "session-lost": "end it with 'anypod sessions delete', and begin anew",
    "out-of-memory": "use less, or raise the limit that the detail names",
    "lm-auth": "the pool's owner has to give the LM a key that its provider takes",
    "lm-rate-limited": "try again later, or choose another LM of the pool",
    "lm-unavailable": "try again later, or choose another LM of the pool",
    "lm-context-window": "give it less, or choose an LM of the pool that takes more",
    "model-output-unusable": "describe the outputs, give demos, or choose another LM of the pool",
    "budget-spent": "give it a larger budget, or fewer examples",
    "store-unavailable": "see the gateway's log; try again when its store is back",
}


class Usage(Exception):
    """The command line makes no sense; the message says why."""


class ItemsFailed(Exception):
    """Some items of a batch failed, each of which has been told."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class SeveralFailed(Exception):
    """Of what one command was to do, each for itself."""

    def __init__(self, failures: Sequence[Exception]) -> None:
        super().__init__(f"{len(failures)} failed")
        self.failures = failures


def each(names: Iterable[str], act: Callable[[str], None]) -> None:
    """Does it with all of them, also after some that fail. Raises what these failed with."""
    from anypod.api.ids import InvalidName
    from anypod.api.problems import AnyPodError

    failures: list[Exception] = []
    for name in names:
        try:
            act(name)
        except (AnyPodError, InvalidName) as failure:
            failures.append(failure)
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise SeveralFailed(failures)


def report(failure: Exception) -> int:
    """Says it on stderr; the exit code."""
    code, lines = _told(failure)
    for line in lines:
        print(line, file=sys.stderr)  # noqa: T201
    return code


def _told(failure: Exception) -> tuple[int, list[str]]:
    # Imported here: a failure is rare, and these are not needed without one.
    from anypod.api.ids import InvalidName
    from anypod.api.problems import AnyPodError
    from anypod.cli.streams import Unwritten
    from anypod.client.errors import NoAnswer, TimedOut, Unreachable
    from anypod.local.settings import CannotStart

    match failure:
        case AnyPodError():
            return code_of(failure.problem), _problem(failure.problem)
        case SeveralFailed():
            codes, told = zip(*map(_told, failure.failures), strict=True)
            return min(codes), [line for lines in told for line in lines]
        case Unwritten():
            if failure.reader_left:  # as 'head' does, which is no fault
                return READER_LEFT, []
            return UNWRITTEN, [_error(str(failure))]
        case ItemsFailed():
            return failure.code, [_error(str(failure))]
        case Unreachable():
            return UNREACHABLE, [
                _error(str(failure)),
                "  is 'anypod up' running? or say where the gateway is: --url, or ANYPOD_URL",
            ]
        case TimedOut():
            return UNAVAILABLE, [_error(str(failure))]
        case NoAnswer():
            return UNREACHABLE, [_error(str(failure))]
        case Usage() | InvalidName() | CannotStart():
            return USAGE, [_error(line) for line in str(failure).splitlines()]
    return BUG, ["".join(traceback.format_exception(failure)).rstrip()]


def code_of(problem: "Problem") -> int:
    if problem.type == "too-many-attempts":  # the key was wrong, each time
        return REFUSED
    if problem.type == "internal-error" or problem.status in {429, 502, 503, 504}:
        return UNAVAILABLE
    if problem.status == 500 or problem.type == "lm-context-window":
        return PROGRAM_FAILED
    return REFUSED


def document(problem: "Problem") -> dict[str, object]:
    from msgspec import to_builtins

    found: dict[str, object] = to_builtins(problem)
    return found


def _problem(problem: "Problem") -> list[str]:
    if as_json.get():
        return [json.dumps(document(problem))]
    first, *more = _lines(problem)
    return [_error(first), *map(printable, more)]


def _lines(problem: "Problem") -> list[str]:
    lines = [f"{problem.type}: {problem.detail}"]
    where = [
        f"{name} {value}"
        for name, value in (
            ("program", problem.program),
            ("revision", (problem.revision or "")[:12]),
            ("worker", problem.worker),
            ("session", problem.session),
            ("execution", problem.execution),
        )
        if value
    ]
    if where:
        lines.append(f"  {', '.join(where)}")
    if len(problem.errors or ()) > 1:
        lines += [f"  {one.get('path')}: {one.get('message')}" for one in problem.errors or ()]
    if problem.model_output:
        lines += [f"  the model said: {line}" for line in problem.model_output.splitlines()]
    if problem.traceback:
        lines += [f"  {line}" for line in problem.traceback.rstrip().splitlines()]
    if problem.logs:
        lines += [f"  {line}" for line in printed.lines(problem.logs, named=True)]
    if problem.type in _TO_DO:
        lines.append(f"  {_TO_DO[problem.type]}")
    return lines


def _error(text: str) -> str:
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    head = "\033[1;31merror:\033[0m" if colour else "error:"
    return f"{head} {printable(text)}"
