"""An executor: takes one execution at a time from its supervisor, and runs it in its main thread.

It is forked, confines itself, says that it is warm, and from then on waits on its socket. After
each execution it undoes what the program did to the process, and says so if that cannot be done:
then the supervisor replaces it. The caller need not wait for that, where nothing that the execution
left can be seen any more: then the answer goes first.
"""

import os
import signal
import socket
import threading
import traceback
from functools import partial
from pathlib import Path
from time import monotonic  # by name: a program may replace them
from types import FrameType
from typing import NoReturn

from anypod import reporting
from anypod.session import Session
from anypod.wire.messages import PROGRESS_MESSAGE, Code
from anypod_worker import aftermath, excess, frames, kinds
from anypod_worker.company import Shared
from anypod_worker.confinement import Start, confine
from anypod_worker.kinds import given
from anypod_worker.runtime import cutting, failures, interrupts
from anypod_worker.runtime.containment import Baseline
from anypod_worker.runtime.loading import InvalidProgram, LoadedProgram, Programs
from anypod_worker.runtime.running import Outcome, run

_EXIT_CONFUSED = 70


def main(start: Start) -> NoReturn:
    """Serve until the supervisor is gone."""
    code = _EXIT_CONFUSED
    try:
        signals_confined = confine(start)
        Executor(start).serve(signals_confined)
        code = 0
    except BaseException:  # noqa: BLE001 - the process ends here, whatever it was
        traceback.print_exc()
    finally:
        os._exit(code)


class Executor:
    def __init__(self, start: Start) -> None:
        limits = start.config.limits
        self._limits = limits
        self._lms = start.config.lms or []
        self._directory = Path(start.directory)
        self._wire = frames.Wire(
            socket.socket(fileno=start.end), frames.max_frame_bytes(limits.output_bytes)
        )
        self._programs = Programs(start.config.programs_per_executor)
        self._session: Session | None = None
        self._credit = 0
        self._shared = Shared(self._wire, limits, self._directory)
        self._signalled = False
        self._watch_signal()
        self._baseline = Baseline.capture()

    def serve(self, signals_confined: bool) -> None:
        """Until the supervisor closes the socket, or the process is of no more use."""
        self._wire.send(frames.Warm(signals_confined))
        while (frame := self._next()) is not None:
            if isinstance(frame, frames.Run):
                fit = self._run_beside(frame) if frame.beside else self._run(frame)
                if not fit:
                    return
            elif isinstance(frame, frames.Check):
                self._wire.send(self._check(frame))
            elif isinstance(frame, frames.Ping):
                self._wire.send(frames.Pong())

    def _next(self) -> frames.ToExecutor | None:
        while (left := kinds.tidy()) is not None and not self._wire.wait(left):
            pass
        return self._wire.receive()

    def _watch_signal(self) -> None:
        """Notice a SIGINT that comes while nothing runs: it may be for what is about to run."""
        interrupt = signal.getsignal(signal.SIGINT)
        assert callable(interrupt)

        def on_signal(number: int, frame: FrameType | None) -> None:
            self._signalled = True
            interrupt(number, frame)

        signal.signal(signal.SIGINT, on_signal)

    def _is_stopped(self, execution: str) -> bool:
        """Whether the supervisor wants it to end before it begins. It says so before it signals."""
        if not self._signalled:
            return False
        self._signalled = False
        return self._wire.is_interrupted(execution)

    # executions

    def _run(self, frame: frames.Run) -> bool:
        """Answer it; False if nothing else can be run here and the answer has not said so."""
        self._shared.drop()
        program = self._programs.get(frame.revision)
        if program is None and frame.code is None:
            self._wire.send(frames.NeedCode(frame.id))
            return True
        if self._is_stopped(frame.id):
            self._wire.send(frames.Done(frame.id, 0.0, failure=failures.STOPPED))
            return True
        outcome = self._outcome(frame, program)
        unfit = self._unfit_at_once(frame, outcome)
        settles_later = not unfit and frame.session is None and self._has_printed_all(outcome)
        if not settles_later:
            unfit = unfit or self._settle(is_session=frame.session is not None)
        self._wire.send(
            frames.Done(
                frame.id,
                outcome.run_seconds,
                outcome.outputs,
                outcome.failure,
                outcome.state,
                outcome.interrupted,
                unfit,
                outcome.usage,
            )
        )
        if settles_later and (reason := self._settle(is_session=False)):
            self._wire.send(frames.Unfit(reason))
            return False
        return True

    def _run_beside(self, frame: frames.Run) -> bool:
        """This one and all that come while something runs; False if nothing else can be run."""
        program = self._programs.get(frame.revision)
        if program is None and frame.code is None:
            self._wire.send(frames.NeedCode(frame.id))
            return True
        try:
            if program is None:
                assert frame.code is not None
                self._shared.drop()
                self._shared.begun(frame.id)
                program = self._load(frame.code, frame.revision)
        except InvalidProgram as error:
            outcome = Outcome(failure=error.failure, interrupted=error.interrupted)
            self._shared.done(frame.id, outcome)
            ended = True
        else:
            ended = self._shared.run(program, frame)
        unfit: frames.Unfitness | None = None
        if not aftermath.end_children():
            unfit = "children"
        unfit = unfit or (None if ended else "threads") or self._settle(is_session=False)
        if unfit:
            self._wire.send(frames.Unfit(unfit))
            return False
        self._shared.prepare()
        return True

    def _unfit_at_once(self, frame: frames.Run, outcome: Outcome) -> frames.Unfitness | None:
        """By what goes on after the execution, and could print into the next one."""
        if not aftermath.end_children():
            return "children"
        if frame.session is not None:
            return None
        if outcome.threads_left:
            return "threads"
        return "unclean" if self._baseline.is_lost() else None

    def _has_printed_all(self, outcome: Outcome) -> bool:
        """Nothing that the execution printed can come after its answer."""
        return outcome.flushed and self._baseline.streams.are_in_place()

    def _outcome(self, frame: frames.Run, program: LoadedProgram | None) -> Outcome:
        began = monotonic()
        try:
            if program is None:
                assert frame.code is not None
                program = self._load(frame.code, frame.revision)
        except InvalidProgram as error:
            return Outcome(
                failure=error.failure,
                run_seconds=monotonic() - began,
                interrupted=error.interrupted,
            )
        self._credit = frames.CHUNK_WINDOW
        if frame.progress:
            reporting.listen(partial(self._tell, frame.id))
        try:
            return run(
                program,
                frame.inputs,
                stream=frame.stream,
                emit=lambda data: self._emit(frame.id, data),
                session=self._session_of(frame),
                output_limit=self._limits.output_bytes,
                given=given.of_run(
                    frame,
                    self._limits.output_bytes,
                    lambda usage: self._say(frames.Used(frame.id, usage)),
                    partial(self._keep, frame.id),
                ),
            )
        finally:
            if frame.progress:
                reporting.listen(None)

    def _load(self, code: Code, revision: str) -> LoadedProgram:
        return self._programs.add(self._kind(code).load(code, revision, self._directory))

    def _kind(self, code: Code) -> kinds.Kind:
        return kinds.of(code.kind, self._lms)

    def _session_of(self, frame: frames.Run) -> Session | None:
        if frame.session is not None and frame.state is not None:
            self._session = Session(frame.session, frame.state)
        return self._session if frame.session is not None else None

    def _emit(self, execution: str, data: bytes) -> None:
        """Send a chunk, when the supervisor has room for one."""
        while self._credit <= 0:
            with interrupts.allowed():
                self._wire.wait()
            frame = self._wire.receive()
            if frame is None:
                os._exit(0)
            if isinstance(frame, frames.Credit) and frame.id == execution:
                self._credit += frame.bytes
        self._credit -= len(data)
        self._wire.send(frames.Chunk(execution, data))

    def _tell(self, execution: str, done: float, total: float | None, message: str) -> None:
        message = cutting.beginning(message, PROGRESS_MESSAGE)
        self._say(frames.Progress(execution, done, total, message))

    def _say(self, said: frames.Progress | frames.Used) -> None:
        """From whatever thread of the program; only in the main one an interrupt comes."""
        if threading.current_thread() is not threading.main_thread():
            self._wire.send(said)
            return
        with interrupts.held():
            self._wire.send(said)

    def _keep(self, execution: str, outputs: bytes) -> None:
        with interrupts.held():
            self._wire.send(frames.Kept(execution, outputs))

    # checks

    def _check(self, frame: frames.Check) -> frames.Frame:
        self._shared.drop()
        if self._is_stopped(frame.id):
            return frames.Checked(frame.id, failure=failures.STOPPED)
        checked = self._checked(frame)
        ended = aftermath.end_children()
        unfit = self._settle(is_session=False) if ended else "children"
        return frames.Checked(
            frame.id,
            checked.failure,
            checked.inputs_schema,
            checked.outputs_schema,
            checked.doc,
            checked.streams,
            unfit,
            checked.waits,
        )

    def _checked(self, frame: frames.Check) -> frames.Checked:
        try:
            program = self._programs.get(frame.revision)
            if program is None:
                program = self._load(frame.code, frame.revision)
            description = self._kind(frame.code).describe(program)
        except InvalidProgram as error:
            return frames.Checked(frame.id, failure=error.failure)
        checked = frames.Checked(
            frame.id,
            None,
            description.inputs_schema,
            description.outputs_schema,
            description.doc,
            description.streams,
            waits=description.waits,
        )
        too_much = excess.of_checked(checked)
        return checked if too_much is None else frames.Checked(frame.id, failure=too_much)

    # afterwards

    def _settle(self, *, is_session: bool) -> frames.Unfitness | None:
        """Undo what was done to the process; why it must be replaced, if it must."""
        restored = self._baseline.restore_session() if is_session else self._baseline.restore()
        if not restored:
            return "unclean"
        if is_session:
            return None
        return "open-files" if aftermath.is_short_of_files(self._limits.open_files) else None
