"""One execution: from JSON inputs to JSON outputs, or to a failure that says what happened."""

from collections.abc import Callable
from dataclasses import dataclass

from anypod.session import Session
from anypod.wire.messages import Failure
from anypod_worker.runtime.loading import LoadedProgram


@dataclass(slots=True)
class Outcome:
    outputs: bytes | None = None
    failure: Failure | None = None
    state: bytes | None = None
    """The session's state, if this execution changed it (and did not fail)."""
    run_seconds: float = 0.0
    interrupted: bool = False
    """An interrupt came while it ran. ``failure`` is then mostly ``deadline-exceeded``: replace it
    when the reason was another; a program may also have answered in spite of it."""
    threads_left: bool = False
    """A Python thread that it started still runs: replace a shared executor."""


def run(
    program: LoadedProgram,
    inputs: bytes,
    *,
    stream: bool,
    emit: Callable[[bytes], None],
    session: Session | None,
    output_limit: int,
) -> Outcome:
    """Run it. Never raises, whatever the program does in Python.

    With ``stream``, what a generator yields goes to ``emit`` one JSON value at a time and the
    outputs are ``null``. ``emit`` may block; an interrupt is then held back until it returns, so
    it never tears a frame. Where it waits and a raise does no harm, it says so with
    ``interrupts.allowed()``.
    """
    raise NotImplementedError
