"""One execution in the supervisor: what it asks its gateway for, streams, prints and answers."""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Literal, cast

import msgspec

from anypod.wire.config import Limits
from anypod.wire.messages import (
    PROGRESS_MESSAGE,
    PROGRESS_SECONDS,
    Chunk,
    Code,
    Execute,
    Failure,
    Log,
    NeedProgram,
    NeedState,
    Output,
    Progress,
    Refused,
    Result,
    SessionState,
    Usage,
)
from anypod_worker import excess, failures, frames
from anypod_worker.executors import Executor
from anypod_worker.keys import NO_KEYS, Keys
from anypod_worker.outbox import Outbox
from anypod_worker.printed import Printed, Stream
from anypod_worker.work import Gateway, Work

_MOST = 2**53
"""Of anything that a run can have asked of an LM."""
_MOST_NAME = 63
"""Characters of an LM's."""

RefusalReason = Literal[
    "full",
    "draining",
    "not-ready",
    "sessions-full",
    "session-busy",
    "session-queue-full",
    "stale-epoch",
]


def _possible(seconds: float, most: float) -> float:
    """Of what an executor says, in whose process a program may have meddled with the clocks."""
    return min(seconds, most) if seconds >= 0.0 else 0.0  # neither, if it is no number


class Execution(Work):
    def __init__(
        self,
        gateway: Gateway,
        message: Execute,
        limits: Limits,
        on_end: Callable[["Execution", frames.Done | None], None] | None = None,
        keys: Keys = NO_KEYS,
    ) -> None:
        """``on_end`` gets what the executor answered if that counts, before it is sent."""
        super().__init__(gateway, message.id, message.timeout, limits)
        self.message = message
        self.base = 0
        """The version of the session's state that it runs on."""
        self._on_end = on_end
        self._keys = keys
        self._program: asyncio.Future[Code] | None = None
        self._state: asyncio.Future[SessionState] | None = None
        self._outbox = Outbox(gateway.send, self._passed) if message.stream else None
        self._printed: Printed | None = None
        self._said: Progress | None = None
        self._told_at = 0.0
        self._kept: bytes | None = None
        self._used: Usage | None = None

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
        session = self.message.session
        self.code = code
        self._begin(executor)
        executor.run(
            self, self._frame(executor, code, session.key if session is not None else None, state)
        )

    def start_beside(self, executor: Executor, code: Code) -> None:
        """In an executor where others of its group run."""
        self.code = code
        self._await_beginning(executor)
        executor.run_beside(self, self._frame(executor, code, beside=True))

    def _frame(
        self,
        executor: Executor,
        code: Code,
        session: str | None = None,
        state: bytes | None = None,
        *,
        beside: bool = False,
    ) -> frames.Run:
        message = self.message
        run = frames.Run(
            message.id,
            message.revision,
            message.inputs,
            None if message.revision in executor.revisions else code,
            message.stream,
            session,
            state,
            message.progress,
            beside=beside,
        )
        return self._with_lms(run) if code.kind == "dspy" else run

    def _with_lms(self, run: frames.Run) -> frames.Run:
        """With what a program needs that asks one."""
        left = self.timeout - (time.monotonic() - self.accepted)
        return msgspec.structs.replace(run, lm=self.message.lm, keys=self._keys.by_lm, seconds=left)

    # while it runs

    def credit(self, size: int) -> None:
        if self._outbox is not None:
            self._outbox.credit(size)

    def chunk(self, data: bytes) -> None:
        if self._outbox is None:
            return
        too_much = excess.of_chunk(data, self.limits, self.gateway.room)
        if too_much or self._outbox.is_full:
            self.stop(failures.TOO_LARGE)
            return
        if self._keys.hides:
            data = self._keys.hidden(data)
        self._outbox.push(Chunk(self.id, data), len(data))

    def progress(self, said: frames.Progress) -> None:
        """A program could send more than an executor lets it say: what comes too soon waits."""
        if not self.message.progress or not math.isfinite(said.done + (said.total or 0.0)):
            return
        message = said.message
        if self._keys.hides:
            message = self._keys.hidden(message.encode()).decode()
        word = Progress(self.id, said.done, said.total, message[:PROGRESS_MESSAGE])
        self._said = word
        now = self._loop.time()
        if now - self._told_at >= PROGRESS_SECONDS / 2:
            self._told_at = now
            self._tell_progress(word)

    def _tell_progress(self, word: Progress) -> None:
        self._said = None
        self.gateway.send(word)

    def kept(self, frame: frames.Kept) -> None:
        if len(frame.outputs) <= self.limits.output_bytes:
            self._kept = self._keys.hidden(frame.outputs) if self._keys.hides else frame.outputs

    def used(self, usage: Usage) -> None:
        """The last word counts. It may be forged, and is added to what others have asked: so only
        of a program that asks an LM, and only what can be."""
        counts = (usage.calls, usage.prompt_tokens, usage.completion_tokens, usage.cost or 0.0)
        possible = len(usage.lm) <= _MOST_NAME and all(0 <= count <= _MOST for count in counts)
        if possible and self.code is not None and self.code.kind == "dspy":
            self._used = usage

    def _outputs_kept(self, failure: Failure | None, printed: Output | None) -> bytes | None:
        """What it ends with instead of a failure that nobody has asked for."""
        if self._kept is None or failure is None or self.stopped == failures.CANCELLED:
            return None
        why = msgspec.json.encode(f"{failure.type}: {failure.detail}")
        outputs = b'%s,"reason":%s}' % (self._kept.removesuffix(b"}"), why)
        fits = len(outputs) <= excess.beside(printed, self.gateway.room)
        return outputs if fits else None

    def _passed(self, size: int) -> None:
        if self.executor is not None and not self.ended:
            self.executor.credit(self.id, size)

    def printed(self, stream: Stream, data: bytes) -> None:
        if self._printed is None:
            on_text = self._log if self.message.stream and self.message.logs else None
            self._printed = Printed(self.id, self.limits.log_bytes, on_text, self._keys)
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
        if frame.usage is not None:
            self.used(frame.usage)
        if self.stopped:
            self._end(failures.of_stop(self.stopped, self.timeout))
            return
        if self._keys.hides:
            frame = self._hidden(frame)
        printed = self._output()
        too_much = excess.of_done(frame, self.limits, excess.beside(printed, self.gateway.room))
        if too_much is not None:
            frame = msgspec.structs.replace(frame, outputs=None, state=None, failure=too_much)
            self._distrust()
        failure = frame.failure
        if frame.interrupted and failure is not None and failure.type == "deadline-exceeded":
            beside = bool(self.message.group)
            failure = failures.KEPT_OTHERS if beside else failures.INTERRUPTED_ITSELF
        if self._on_end is not None:
            self._on_end(self, frame)
        session = self.message.session is not None
        kept = self._outputs_kept(failure, printed)
        now = time.monotonic()
        began = self.started or now
        self._answer(
            Result(
                id=self.id,
                run_seconds=_possible(frame.run_seconds, now - began),
                wait_seconds=began - self.accepted,
                outputs=frame.outputs if kept is None else kept,
                failure=failure if kept is None else None,
                printed=printed,
                state=frame.state if session else None,
                base=self.base,
                usage=self._used,
            )
        )

    def _hidden(self, frame: frames.Done) -> frames.Done:
        """Without the keys of LMs in anything that leaves."""
        keys = self._keys
        return msgspec.structs.replace(
            frame,
            outputs=None if frame.outputs is None else keys.hidden(frame.outputs),
            state=None if frame.state is None else keys.hidden(frame.state),
            failure=None if frame.failure is None else keys.hidden_in(frame.failure),
        )

    def _end_unstarted(self, failure: Failure) -> None:
        self._end(failure)

    def _end(self, failure: Failure) -> None:
        now = time.monotonic()
        began = self.started or now
        printed = self._output()
        if self._on_end is not None:
            self._on_end(self, None)
        kept = self._outputs_kept(failure, printed)
        self._answer(
            Result(
                id=self.id,
                run_seconds=now - began,
                wait_seconds=began - self.accepted,
                outputs=kept,
                failure=failure if kept is None else None,
                printed=printed,
                base=self.base,
                usage=self._used,
            )
        )

    def _output(self) -> Output | None:
        """All of it, ended; to be returned if that was asked for."""
        if self._printed is not None:
            self._printed.end()
        if not self.message.logs:
            return None
        if self._printed is None:
            return Output()
        output = self._printed.output()
        if excess.of_printed(output, self.gateway.room):
            return Output(cut_bytes=output.cut_bytes + len(output.stdout) + len(output.stderr))
        return output

    def _answer(self, result: Result) -> None:
        self._close()
        if self._said is not None:
            self._tell_progress(self._said)
        if self._outbox is None:
            self._finish(result)
        else:
            self._outbox.end(lambda: self._finish(result))

    def _finish(self, result: Result) -> None:
        self.gateway.ended(self)
        self.gateway.send(result)
