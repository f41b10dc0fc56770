"""A piece of work in the supervisor: an execution or a check, from acceptance to its one answer.

It is prepared, runs in an executor, and ends once: by what the executor says, by the executor's
death, or by being stopped before it ran. Its timer stops it at its deadline: first an interrupt,
after a grace the kill.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from anypod.wire.config import Limits
from anypod.wire.messages import Check, Checked, Code, Failure, Message, Usage
from anypod_worker import excess, failures, frames
from anypod_worker.executors import Death, Executor
from anypod_worker.printed import Stream

MAX_RESTARTS = 3
"""Of an execution whose executors die before they read it."""


class Gateway(Protocol):
    """The link that an execution came by."""

    @property
    def room(self) -> int:
        """Bytes of the largest message that it takes."""
        ...

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
            if self.executor is not None:
                self.executor.crowd.withdraw(self.id)
            self._end_unstarted(failures.of_stop(why, self.timeout))

    def _interrupt(self, grace: float, *, again: bool) -> None:
        """Twice, for the first may have come before the program ran, or in its cleaning up."""
        assert self.executor is not None
        self.executor.interrupt(self.id)
        self._timer.cancel()
        if again:
            self._timer = self._loop.call_later(grace, self._interrupt_again, grace)
        else:
            self._timer = self._loop.call_later(grace, self.executor.give_up, self.id, self.stopped)

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

    def _await_beginning(self, executor: Executor) -> None:
        """It runs when its executor, which others are in, comes to it."""
        self.executor = executor

    def begun(self) -> None:
        self.started = time.monotonic()

    def given_up(self) -> None:
        self._end_unstarted(failures.of_stop(self.stopped, self.timeout))

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

    def _distrust(self) -> None:
        """Who has said more than an executor says may still be running, and would end for others
        what runs in it next."""
        if self.executor is not None:
            self.executor.replace = self.executor.replace or "protocol"

    def _close(self) -> None:
        self.ended = True
        self._timer.cancel()

    def _end_unstarted(self, failure: Failure) -> None:
        raise NotImplementedError

    def printed(self, stream: Stream, data: bytes) -> None:
        """What a check prints is nobody's."""

    def chunk(self, data: bytes) -> None:
        """A check has none."""

    def progress(self, said: frames.Progress) -> None:
        """Of a check nobody asks for it."""

    def kept(self, frame: frames.Kept) -> None:
        """A check has nothing to keep."""

    def used(self, usage: Usage) -> None:
        """A check asks no LM."""


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
            told = failures.of_stop(self.stopped, self.timeout)
            where = None if frame.failure is None else frame.failure.path
            self._answer(Checked(self.id, msgspec.structs.replace(told, path=where)))
            return
        too_much = excess.of_checked(frame, self.gateway.room)
        if too_much is not None:
            self._distrust()
            self._answer(Checked(self.id, too_much))
            return
        self._answer(
            Checked(
                self.id,
                frame.failure,
                frame.inputs_schema,
                frame.outputs_schema,
                frame.doc,
                frame.streams,
                frame.waits,
            )
        )

    def _end_unstarted(self, failure: Failure) -> None:
        self._answer(Checked(self.id, failure))

    def _answer(self, checked: Checked) -> None:
        self._close()
        self.gateway.ended(self)
        self.gateway.send(checked)
