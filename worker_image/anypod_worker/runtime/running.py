"""One execution: from JSON inputs to JSON outputs, or to a failure that says what happened."""

import _thread
import os
import sys
import traceback
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from time import monotonic, perf_counter, sleep  # by name: a program may replace them
from weakref import WeakKeyDictionary

from anypod import session as session_module
from anypod.session import Session
from anypod.wire.messages import Failure, Usage
from anypod_worker.kinds.given import Given
from anypod_worker.runtime import cutting, failures, interrupts, outputs, results, stdio
from anypod_worker.runtime.inputs import Rejected
from anypod_worker.runtime.loading import InvalidProgram, LoadedProgram
from anypod_worker.runtime.signatures import plan_of

STATE_LIMIT = 1024 * 1024 - 16 * 1024
"""Of a session's state as JSON: with its record it stays under what the store takes."""

_LEAST_RECURSION = 500
"""What we need ourselves, whatever the program has set."""
_THREAD_GRACE_SECONDS = 0.05
count_threads: Callable[[], int] = _thread._count  # noqa: SLF001 - also those that threading misses
_NO_MEMORY = Failure(
    type="out-of-memory", detail="the program needs more than limits.memory of the pool"
)


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
    flushed: bool = False
    """All that it printed has been written."""
    usage: Usage | None = None


@dataclass(slots=True)
class _Call:
    program: LoadedProgram
    inputs: bytes
    emit: Callable[[bytes], None] | None
    session: Session | None
    output_limit: int
    outcome: Outcome
    given: Given | None

    def execute(self) -> None:
        """Fill the outcome, whatever the program does; raises Interrupted."""
        try:
            self._execute()
        except interrupts.Interrupted:
            raise
        except BaseException as error:  # noqa: BLE001 - a program may raise anything
            if interrupts.was_cancelled(error):
                self.outcome.failure = failures.of_interrupt(error, self.program.directory)
            else:
                self.outcome.failure = failure_of(error, self.program)

    def _execute(self) -> None:
        arguments, named = plan_of(self.program).bind(self.inputs, self.session, self.given)
        started = perf_counter()
        try:
            value = self.program.entry(*arguments, **named)
            data = results.collected(value, self.emit, self.output_limit, self.session)
        finally:
            self.outcome.run_seconds = perf_counter() - started
            if sys.getrecursionlimit() < _LEAST_RECURSION:
                sys.setrecursionlimit(_LEAST_RECURSION)
        if self.session is not None:
            self.outcome.state = _changed_state(self.session)
        self.outcome.outputs = data


def _changed_state(session: Session) -> bytes | None:
    state = outputs.encode(session.state, limit=STATE_LIMIT, root="session.state")
    return state if state != session.committed else None


def failure_of(error: BaseException, program: LoadedProgram) -> Failure:
    """For an execution that ended by raising this."""
    if isinstance(error, Rejected | InvalidProgram | outputs.BadOutput | failures.Known):
        return error.failure
    if isinstance(error, MemoryError):
        return _out_of_memory(error, program)
    return failures.of_exception(error, program.directory)


def _out_of_memory(error: MemoryError, program: LoadedProgram) -> Failure:
    """The frames hold what filled the memory: let it go before anything is built."""
    traceback.clear_frames(error.__traceback__)
    try:
        return failures.of_exception(error, program.directory)
    except MemoryError:
        return _NO_MEMORY


_contexts: WeakKeyDictionary[Session, Context] = WeakKeyDictionary()


def _context(session: Session | None) -> Context:
    """New for each execution, with the decimal context and all; a session keeps its own."""
    if session is None:
        return Context()
    return _contexts.setdefault(session, Context())


def _settle_session(session: Session, outcome: Outcome) -> None:
    """After success the state is what JSON made of it; after a failure, what it was before."""
    if outcome.failure is None and outcome.state is not None:
        session.committed = outcome.state
    elif outcome.failure is None:
        return
    session.rebuild()


def threads_left(before: int) -> bool:
    """Threads that are about to end, as those of a pool that was just dropped, get a moment."""
    if count_threads() <= before:
        return False
    until = monotonic() + _THREAD_GRACE_SECONDS
    while count_threads() > before and monotonic() < until:
        sleep(0.001)
    return count_threads() > before


def _exit_fork(failure: Failure | None) -> None:
    """In a process that the program forked and let return: it has no one to answer to."""
    status = 0
    if failure is not None:
        status = 1 if failure.exit_code is None else failure.exit_code
        if failure.exit_code is None:
            os.write(2, (failure.traceback or failure.detail).encode())
    stdio.flush()
    os._exit(status)


def _only_in(process: int, emit: Callable[[bytes], None]) -> Callable[[bytes], None]:
    def checked(data: bytes) -> None:
        if os.getpid() != process:
            _exit_fork(None)
        emit(data)

    return checked


def _perform(call: _Call) -> None:
    execution = interrupts.Execution()
    try:
        with execution:
            _context(call.session).run(call.execute)
    except interrupts.Interrupted as error:
        interrupts.finish()
        call.outcome.outputs = call.outcome.state = None
        call.outcome.failure = failures.of_interrupt(error, call.program.directory)
    call.outcome.interrupted = execution.interrupted


def run(
    program: LoadedProgram,
    inputs: bytes,
    *,
    stream: bool,
    emit: Callable[[bytes], None],
    session: Session | None,
    output_limit: int,
    given: Given | None = None,
) -> Outcome:
    """Run it. Never raises, whatever the program does in Python.

    With ``stream``, what a generator yields goes to ``emit`` one JSON value at a time and the
    outputs are ``null``. ``emit`` may block; an interrupt is then held back until it returns, so
    it never tears a frame. Where it waits and a raise does no harm, it says so with
    ``interrupts.allowed()``. It must not raise for reasons of its own.
    """
    process, threads = os.getpid(), count_threads()
    outcome = Outcome()
    checked = _only_in(process, emit) if stream else None
    call = _Call(program, inputs, checked, session, output_limit, outcome, given)
    if given is not None:
        cutting.hide(given.keys)
    begin(program, session)
    try:
        _perform(call)
    finally:
        if os.getpid() != process:
            _exit_fork(outcome.failure)
        end(program)
    if session is not None:
        _settle_session(session, outcome)
    if given is not None:
        outcome.usage = given.usage
        cutting.forget()
    outcome.flushed = stdio.flush()
    outcome.threads_left = threads_left(threads)
    return outcome


def begin(program: LoadedProgram, session: Session | None) -> None:
    """The process is this program's from here on."""
    if program.settings is not None:
        restore = program.settings.restore if session is None else program.settings.restore_handlers
        restore()
    program.activate()
    session_module.enter(session)


def end(program: LoadedProgram) -> None:
    session_module.enter(None)
    program.deactivate()
