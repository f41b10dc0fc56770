"""One execution (or check) in the supervisor, from its acceptance to its one answer.

An execution is prepared (an executor, the program, a session's state), runs, and ends once: by what
the executor says, by the executor's death, or by being stopped before it ran. Its timer stops it at
its deadline: first an interrupt, after a grace the kill.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Literal, Protocol, cast

from anypod.wire.config import Limits
from anypod.wire.messages import (
    Check,
    Checked,
    Chunk,
    Code,
    Execute,
    Failure,
    Log,
    Message,
    NeedProgram,
    NeedState,
    Output,
    Refused,
    Result,
    SessionState,
)
from anypod_worker import failures, frames
from anypod_worker.executors import Death, Executor
from anypod_worker.outbox import Outbox
from anypod_worker.printed import Printed, Stream

MAX_RESTARTS = 3
"""Of an execution whose executors die before they read it."""

RefusalReason = Literal[
    "full",
    "draining",
    "not-ready",
    "sessions-full",
    "session-busy",
    "session-queue-full",
    "stale-epoch",
]


class Gateway(Protocol):
    """The link that an execution came by."""

    def send(self, message: Message) -> None: ...
    def ended(self, work: "Work") -> None: ...


class Work:
    """What executions and checks have in common."""

    def __init__(self, gateway: Gateway, id_: str, timeout: float, limits: Limits) -> None:
        self.id = id_
        self.gateway = gateway
        self.limits = limits
        self.timeout = timeout
        self.code: Code | None = None
        self.executor: Executor | None = None
        self.preparing: asyncio.Task[None] | None = None
        self.stopped = ""
        """Why it was told to stop; empty when it was not."""
        self.ended = False
        self.restart: Callable[[], None] = lambda: None
        """Prepares it again."""
        self.accepted = time.monotonic()
        self.started = 0.0
        self._restarts = 0
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(timeout, self.stop, failures.DEADLINE)

    def stop(self, why: str) -> None:
        """At a deadline, a cancel, a lost link: nothing waits for what it would answer."""
        if self.ended or self.stopped:
            return
        self.stopped = why
        if self.started:
            self._interrupt(self.limits.interrupt_grace_seconds / 2, again=True)
        else:
            if self.preparing is not None:
                self.preparing.cancel()
            self._end_unstarted(failures.of_stop(why, self.timeout))

    def _interrupt(self, grace: float, *, again: bool) -> None:
        """Twice, for the first may have come before the program ran, or in its cleaning up."""
        assert self.executor is not None
        self.executor.interrupt()
        self._timer.cancel()
        if again:
            self._timer = self._loop.call_later(grace, self._interrupt_again, grace)
        else:
            self._timer = self._loop.call_later(grace, self.executor.kill, self.stopped)

    def _interrupt_again(self, grace: float) -> None:
        self._interrupt(grace, again=False)

    def stop_at_once(self, why: str) -> None:
        self.stop(why)
        if self.executor is not None and not self.ended:
            self.executor.kill(why)

    def fail(self, failure: Failure) -> None:
        """It cannot be started."""
        if not self.ended:
            self._end_unstarted(failure)

    def _begin(self, executor: Executor) -> None:
        self.executor = executor
        self.started = time.monotonic()

    def lost(self, death: Death) -> None:
        """Its executor is gone. What that one had not read yet can begin anew elsewhere."""
        if self.stopped:
            self._end_unstarted(failures.of_stop(self.stopped, self.timeout))
        elif death.job_unread and self._restarts < MAX_RESTARTS:
            self._restarts += 1
            self.started = 0.0
            self.executor = None
            self.restart()
        else:
            self._end_unstarted(failures.of_death(death, self.limits))

    def _close(self) -> None:
        self.ended = True
        self._timer.cancel()

    def _end_unstarted(self, failure: Failure) -> None:
        raise NotImplementedError

    def printed(self, stream: Stream, data: bytes) -> None:
        """What a check prints is nobody's."""

    def chunk(self, data: bytes) -> None:
        """A check has none."""


class Checking(Work):
    def __init__(self, gateway: Gateway, message: Check, limits: Limits) -> None:
        super().__init__(gateway, message.id, message.timeout, limits)
        self.message = message
        self.code = message.code

    def start(self, executor: Executor) -> None:
        self._begin(executor)
        executor.run(self, frames.Check(self.id, self.message.revision, self.message.code))

    def done(self, frame: frames.Done | frames.Checked) -> None:
        assert isinstance(frame, frames.Checked)
        if self.stopped:
            self._answer(Checked(self.id, failures.of_stop(self.stopped, self.timeout)))
            return
        self._answer(
            Checked(
                self.id,
                frame.failure,
                frame.inputs_schema,
                frame.outputs_schema,
                frame.doc,
                frame.streams,
            )
        )

    def _end_unstarted(self, failure: Failure) -> None:
        self._answer(Checked(self.id, failure))

    def _answer(self, checked: Checked) -> None:
        self._close()
        self.gateway.ended(self)
        self.gateway.send(checked)


class Execution(Work):
    def __init__(
        self,
        gateway: Gateway,
        message: Execute,
        limits: Limits,
        on_end: Callable[["Execution", frames.Done | None], None] | None = None,
    ) -> None:
        """``on_end`` gets what the executor answered if that counts, before it is sent."""
        super().__init__(gateway, message.id, message.timeout, limits)
        self.message = message
        self.base = 0
        """The version of the session's state that it runs on."""
        self._on_end = on_end
        self._program: asyncio.Future[Code] | None = None
        self._state: asyncio.Future[SessionState] | None = None
        self._outbox = Outbox(gateway.send, self._passed) if message.stream else None
        on_text = self._log if message.stream and message.logs else None
        self._printed = Printed(self.id, limits.log_bytes, on_text)

    # before it runs

    async def ask_program(self) -> Code:
        """Until its own gateway answers: only then does that gateway know that it may run."""
        self._program = self._loop.create_future()
        self.gateway.send(NeedProgram(self.id, self.message.revision))
        return await self._program

    async def ask_state(self) -> SessionState:
        assert self.message.session is not None
        self._state = self._loop.create_future()
        session = self.message.session
        self.gateway.send(NeedState(self.id, session.key, session.epoch))
        return await self._state

    def give_program(self, code: Code) -> None:
        if self._program is not None and not self._program.done():
            self._program.set_result(code)

    def give_state(self, state: SessionState) -> None:
        if self._state is not None and not self._state.done():
            self._state.set_result(state)

    def refuse(self, reason: RefusalReason) -> None:
        """It has not run, and never will."""
        self._close()
        if self.preparing is not None:
            self.preparing.cancel()
        self.gateway.ended(self)
        self.gateway.send(Refused(self.id, reason))

    def start(self, executor: Executor, code: Code, state: bytes | None = None) -> None:
        message = self.message
        self.code = code
        self._begin(executor)
        executor.run(
            self,
            frames.Run(
                message.id,
                message.revision,
                message.inputs,
                None if message.revision in executor.revisions else code,
                message.stream,
                message.session.key if message.session is not None else None,
                state,
            ),
        )

    # while it runs

    def credit(self, size: int) -> None:
        if self._outbox is not None:
            self._outbox.credit(size)

    def chunk(self, data: bytes) -> None:
        if self._outbox is not None:
            self._outbox.push(Chunk(self.id, data), len(data))

    def _passed(self, size: int) -> None:
        if self.executor is not None and not self.ended:
            self.executor.credit(self.id, size)

    def printed(self, stream: Stream, data: bytes) -> None:
        self._printed.add(stream, data)

    def _log(self, stream: str, text: str) -> None:
        if self._outbox is not None:
            self._outbox.push(Log(self.id, cast("Stream", stream), text), len(text))

    def stop(self, why: str) -> None:
        if self._outbox is not None:
            self._outbox.drop()
        super().stop(why)

    # its end

    def done(self, frame: frames.Done | frames.Checked) -> None:
        assert isinstance(frame, frames.Done)
        if self.stopped:
            self._end(failures.of_stop(self.stopped, self.timeout))
            return
        self._printed.end()
        failure = frame.failure
        if frame.interrupted and failure is not None and failure.type == "deadline-exceeded":
            failure = failures.INTERRUPTED_ITSELF
        if self._on_end is not None:
            self._on_end(self, frame)
        session = self.message.session is not None
        self._answer(
            Result(
                id=self.id,
                run_seconds=frame.run_seconds,
                wait_seconds=self.started - self.accepted,
                outputs=frame.outputs,
                failure=failure,
                printed=self._output(),
                state=frame.state if session else None,
                base=self.base,
            )
        )

    def _end_unstarted(self, failure: Failure) -> None:
        self._end(failure)

    def _end(self, failure: Failure) -> None:
        now = time.monotonic()
        began = self.started or now
        self._printed.end()
        if self._on_end is not None:
            self._on_end(self, None)
        self._answer(
            Result(
                id=self.id,
                run_seconds=now - began,
                wait_seconds=began - self.accepted,
                failure=failure,
                printed=self._output(),
                base=self.base,
            )
        )

    def _output(self) -> Output | None:
        return self._printed.output() if self.message.logs else None

    def _answer(self, result: Result) -> None:
        self._close()
        if self._outbox is None:
            self._finish(result)
        else:
            self._outbox.end(lambda: self._finish(result))

    def _finish(self, result: Result) -> None:
        self.gateway.ended(self)
        self.gateway.send(result)
