"""An executor while several executions run in it: frames are taken between their steps.

It takes executions of one revision until none is left; what else the supervisor sends is for after
that. Tasks and threads print, so whoever sends a frame holds a lock, and is not interrupted.
What they run in is made ahead, when there was something like it before: nobody waits then.
"""

import contextlib
import os
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

from anypod.wire.config import Limits
from anypod_worker import frames
from anypod_worker.kinds import given
from anypod_worker.marks import Marks
from anypod_worker.runtime import interrupts
from anypod_worker.runtime.beside import Company
from anypod_worker.runtime.loading import LoadedProgram
from anypod_worker.runtime.running import Outcome
from anypod_worker.runtime.shared_streams import Stream

_EXIT_CONFUSED = 70
_PRINTED_BYTES = 1024 * 1024
"""Of one frame, however much is printed at once: a frame has a limit."""


def _nowhere(_: bytes) -> None:
    """There is no room for marks."""


class Shared:
    """A ``beside.Outside``."""

    def __init__(self, wire: frames.Wire, limits: Limits, directory: Path) -> None:
        self._wire = wire
        self._limits = limits
        self._directory = directory
        self._mark: Callable[[bytes], None] = _nowhere
        self._company: Company | None = None
        self._process = os.getpid()
        self._main = threading.get_ident()

    def prepare(self) -> Company:
        """For executions that may come."""
        if self._mark is _nowhere:
            with contextlib.suppress(OSError):
                self._mark = Marks(self._directory).write
        self._company = Company(
            self,
            self._wire.fileno(),
            self._hear,
            output_limit=self._limits.output_bytes,
            window=frames.CHUNK_WINDOW,
            mark=self._mark,
        )
        return self._company

    def drop(self) -> None:
        """Something else comes, whose code may close files that are not its own."""
        if self._company is not None:
            self._company.close()
            self._company = None

    def run(self, program: LoadedProgram, first: frames.Run) -> bool:
        """Until nothing runs any more; whether all that was started has ended."""
        company = self.prepare() if self._company is None else self._company
        try:
            self._start(company, first)
            self._take(company)
            return company.serve(program)
        finally:
            self._company = None

    def _hear(self) -> None:
        assert self._company is not None
        self._take(self._company)

    def _start(self, company: Company, run: frames.Run) -> None:
        of_lm = given.of_run(
            run,
            self._limits.output_bytes,
            lambda usage: self._send(frames.Used(run.id, usage)),
        )
        company.start(run.id, run.inputs, stream=run.stream, given=of_lm, follows=run.progress)

    def _take(self, company: Company) -> None:
        found = self._wire.receive_now()
        if found is None:
            os._exit(0)  # the supervisor is gone
        for position, frame in enumerate(found):
            if not company:
                self._wire.put_back(found[position:])
                return
            self._take_one(company, frame)

    def _take_one(self, company: Company, frame: frames.ToExecutor) -> None:
        if isinstance(frame, frames.Run):
            self._start(company, frame)
        elif isinstance(frame, frames.Interrupt):
            company.interrupt(frame.id)
        elif isinstance(frame, frames.Credit):
            company.give_credit(frame.id, frame.bytes)
        elif isinstance(frame, frames.Ping):
            self._send(frames.Pong())

    # what executions tell

    def begun(self, execution: str) -> None:
        self._send(frames.Begun(execution))

    def chunk(self, execution: str, data: bytes) -> None:
        self._send(frames.Chunk(execution, data))

    def printed(self, execution: str, stream: Stream, data: bytes) -> None:
        for at in range(0, len(data), _PRINTED_BYTES):
            self._send(frames.Printed(execution, stream, data[at : at + _PRINTED_BYTES]))

    def progress(self, execution: str, done: float, total: float | None, message: str) -> None:
        self._send(frames.Progress(execution, done, total, message))

    def done(self, execution: str, outcome: Outcome) -> None:
        try:
            self._send(
                frames.Done(
                    execution,
                    outcome.run_seconds,
                    outcome.outputs,
                    outcome.failure,
                    interrupted=outcome.interrupted,
                    usage=outcome.usage,
                )
            )
        except BaseException:  # noqa: BLE001 - else nobody would ever answer for it
            traceback.print_exc()
            os._exit(_EXIT_CONFUSED)

    def _send(self, frame: frames.Frame) -> None:
        if os.getpid() != self._process:
            os._exit(0)  # a fork that went on as if it were the program
        if threading.get_ident() != self._main:  # only the main thread can be interrupted
            self._wire.send(frame)
            return
        with interrupts.held():
            self._wire.send(frame)
