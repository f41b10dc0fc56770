"""One execution from its arrival to its answer: its attempts, and which ends allow another one.

The rule of retries: what provably has not started is placed again; what may have started only if
the program is declared idempotent. A check changes nothing, so it counts as idempotent.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from anypod.api import usage
from anypod.api.ids import new_execution_id
from anypod.api.problems import OF_THE_PROGRAM, AnyPodError, error, from_failure, problem
from anypod.store.kv import StoreUnavailable
from anypod.wire.messages import (
    PYTHON,
    Check,
    Checked,
    Code,
    Execute,
    Failure,
    Output,
    Program,
    Progress,
    Refused,
    Result,
    SessionRef,
    Usage,
)
from anypod_gateway.attempts import Attempt, End, Failed, Lost, Overdue, StreamAttempt
from anypod_gateway.errands import Errands
from anypod_gateway.executions import (
    ExecutionAnswer,
    ExecutionInfo,
    ExecutionRequest,
    ToldLost,
)
from anypod_gateway.failures import store_away
from anypod_gateway.groups import Share
from anypod_gateway.workers import Worker

MAX_ATTEMPTS = 3
MAX_PLACED = 100
"""Refusals and lost links that one execution outlasts."""
OVERDUE_SECONDS = 3.0
"""How much later than a worker its gateway takes a deadline for missed, beside the grace between
the worker's interrupt and its kill."""

IMPORT_SECONDS = 30.0
"""Whoever has not imported in this time never will."""

KIND_RETRY_SECONDS = 30
"""Until there may be other workers, of another image."""

WORKER_LOST = "worker-lost"
NOT_SENT = "not-sent"
_AVOIDED = frozenset({NOT_SENT, "draining", "not-ready", "sessions-full"})


class Course:
    """An ``attempts.Supply``."""

    def __init__(
        self, id_: str, deadline: float, *, idempotent: bool, grace: float, errands: Errands
    ) -> None:
        self.id = id_
        self.deadline = deadline
        self.came = asyncio.get_running_loop().time()
        self.avoid: Collection[str] = ()
        """Workers that have just failed it."""
        self.placed = 0
        """How often it was sent to a worker."""
        self.tries = 0
        """How often it may have run."""
        self.has_told = False
        """The caller has had a part of the answer: there is no second attempt."""
        self.errands = errands
        self.share: Share | None = None
        """It needs no executor of its own."""
        self.kind = PYTHON
        """Of its program."""
        self.holds: Callable[[], bool] | None = None
        """Asked right before each time that it is sent."""
        self._worker = ""
        self._sent_at = self.came
        self._idempotent = idempotent
        self._grace = grace

    # beginning

    def begin(self, worker: Worker, *, stream: bool = False) -> Attempt:
        """On an executor that has been reserved."""
        attempt = self._attempt(worker, stream=stream, shared=True)
        if attempt is None:
            worker.release(self.share)
            raise self.error("deadline-exceeded", "its time was over before it was sent")
        return attempt

    def _attempt(self, worker: Worker, *, stream: bool, shared: bool) -> Attempt | None:
        now = asyncio.get_running_loop().time()
        timeout = self.deadline - now
        if timeout <= 0 or (self.holds is not None and not self.holds()):
            return None
        self.placed += 1
        self.tries += 1
        self._worker = worker.name
        self._sent_at = now
        kind = StreamAttempt if stream else Attempt
        overdue = self.deadline + self._grace + OVERDUE_SECONDS
        attempt = kind(self.id, worker, overdue, self, shared=shared, share=self.share)
        worker.run(attempt, self._message(timeout))
        return attempt

    def _message(self, timeout: float) -> Execute | Check:
        raise NotImplementedError

    # what the worker asks for

    def need_program(self, attempt: Attempt) -> None:
        raise NotImplementedError

    def need_state(self, attempt: Attempt) -> None:
        """Nothing but a session has one; the worker goes on asking until its deadline."""

    def deliver(self, attempt: Attempt, result: Result) -> None:
        attempt.finish(result)

    def hear(self, progress: Progress) -> None:
        """Of what does not say how far it is."""

    # ending

    def retry(self, end: End) -> str:
        """Why it may be placed again. Raises what the caller is to be told if it may not."""
        if isinstance(end, Lost):
            if not end.started:
                return self._not_run(NOT_SENT)
            return self._after_loss("its link broke", AnyPodError)
        if isinstance(end, Refused):
            return self._not_run(end.reason)
        if isinstance(end, Failed):
            raise self._unsupplied(end.reason)
        if isinstance(end, Overdue):
            raise self.error("deadline-exceeded", "the worker did not keep its deadline")
        failure = end.failure
        assert failure is not None
        if failure.type == WORKER_LOST:
            return self._after_loss(failure.detail, ToldLost)
        raise self._failed(failure, end if isinstance(end, Result) else None)

    def _unsupplied(self, reason: Exception) -> Exception:
        """This attempt has not begun, but one before it may have run."""
        if isinstance(reason, StoreUnavailable) and self.tries > 1:
            return self.store_away("an attempt before was lost, and may have happened")
        return reason

    def _after_loss(self, how: str, kind: type[AnyPodError]) -> str:
        self.avoid = (*self.avoid, self._worker)
        if self._idempotent and self.tries < MAX_ATTEMPTS and not self.has_told:
            return WORKER_LOST
        again = f", {self.tries} times" if self.tries > 1 else ""
        why = f"the worker was lost{again} ({how}); the execution may have happened"
        raise kind(problem(WORKER_LOST, why, **self.members()))

    def _not_run(self, reason: str) -> str:
        self.tries -= 1
        if reason in _AVOIDED:
            self.avoid = (*self.avoid, self._worker)
        if self.placed >= MAX_PLACED:
            raise self.error(
                "no-worker", f"workers refused it {self.placed} times: {reason}", retry_after=1
            )
        return reason

    def _failed(self, failure: Failure, result: Result | None) -> AnyPodError:
        logs = _logs(result.printed) if result is not None else None
        return AnyPodError(from_failure(self._shown(failure), logs=logs, **self.members()))

    def _shown(self, failure: Failure) -> Failure:
        """As its caller may see it."""
        return failure

    def error(self, type_: str, detail: str, **members: Any) -> AnyPodError:
        return error(type_, detail, **self.members(), **members)

    def store_away(self, became: str) -> AnyPodError:
        return self.named(AnyPodError(store_away(became)))

    def unknown_kind(self, why: str) -> AnyPodError:
        """No worker can run it, as they are."""
        return self.error("invalid-program", why, path="kind")

    def named(self, failure: AnyPodError) -> AnyPodError:
        """The same error with what is known of the execution."""
        known = {
            name: value
            for name, value in self.members().items()
            if getattr(failure.problem, name) is None
        }
        return AnyPodError(msgspec.structs.replace(failure.problem, **known))

    def members(self) -> dict[str, Any]:
        return {
            "execution": self.id,
            "worker": self._worker or None,
            "attempt": self.tries or None,
        }


class Run(Course):
    """The course of a program's run."""

    def __init__(
        self, request: ExecutionRequest, *, stream: bool, grace: float, errands: Errands
    ) -> None:
        super().__init__(
            request.execution,
            request.deadline,
            idempotent=request.idempotent,
            grace=grace,
            errands=errands,
        )
        self.request = request
        self.kind = request.kind
        self.holds = request.holds
        self.session: SessionRef | None = None
        self.on_usage: Callable[[Usage], None] = lambda _: None
        self._used: Usage | None = None
        """By all attempts, as far as their workers have told."""
        self._stream = stream

    def deliver(self, attempt: Attempt, result: Result) -> None:
        self.note(result)
        attempt.finish(result)

    def note(self, result: Result) -> None:
        """It has come, whoever waits for it: what was asked of an LM has been paid for."""
        if result.usage is not None:
            self._used = usage.both(self._used, result.usage)
            self.on_usage(result.usage)
        if self.request.on_end is not None:
            self.request.on_end(result.usage)

    def _not_run(self, reason: str) -> str:
        if self.request.on_end is not None:
            self.request.on_end(None)
        return super()._not_run(reason)

    def hear(self, progress: Progress) -> None:
        if self.request.on_progress is not None:
            self.request.on_progress(progress)

    def unknown_kind(self, why: str) -> AnyPodError:
        """One that is there has been looked at by workers of another image."""
        if not self.request.program:
            return super().unknown_kind(why)
        return self.error("no-worker", why, retry_after=KIND_RETRY_SECONDS)

    def _message(self, timeout: float) -> Execute:
        request = self.request
        return Execute(
            id=request.execution,
            program=request.program,
            revision=request.revision,
            inputs=request.inputs,
            timeout=timeout,
            attempt=self.tries,
            stream=self._stream,
            logs=request.logs,
            session=self.session,
            lm=request.lm,
            group="" if self.share is None else self.share.group_name,
            progress=request.on_progress is not None,
        )

    def need_program(self, attempt: Attempt) -> None:
        self.errands.run(self._send_program(attempt))

    async def _send_program(self, attempt: Attempt) -> None:
        code: Code | Exception
        try:
            async with asyncio.timeout_at(self.deadline):
                code = await self.request.code()
        except TimeoutError:
            code = self.error("deadline-exceeded", "its program could not be fetched in time")
        except Exception as reason:  # noqa: BLE001 - it is raised to the caller
            code = reason
        if attempt.future.done():
            return
        if isinstance(code, Exception):
            attempt.finish(Failed(code))
            attempt.worker.abandon(attempt)
            return
        attempt.asked = False
        attempt.worker.tell(Program(self.id, self.request.revision, code))

    def _shown(self, failure: Failure) -> Failure:
        if failure.model_output is None or self.request.shows_replies:
            return failure
        return msgspec.structs.replace(failure, model_output=None)

    def answer(self, result: Result) -> ExecutionAnswer:
        request = self.request
        info = ExecutionInfo(
            execution=request.execution,
            program=request.program,
            revision=request.revision,
            worker=self._worker,
            attempt=self.tries,
            queue_seconds=self._sent_at - self.came + result.wait_seconds,
            run_seconds=result.run_seconds,
            session=request.session,
        )
        return ExecutionAnswer(result.outputs or b"null", info, result.printed, self._used)

    def members(self) -> dict[str, Any]:
        request = self.request
        return {
            **super().members(),
            "program": request.program or None,
            "revision": request.revision,
            "session": request.session,
            "usage": usage.told(self._used),
        }


class Checking(Course):
    """The course of a check."""

    def __init__(
        self, revision: str, code: Code, deadline: float, *, grace: float, errands: Errands
    ) -> None:
        super().__init__(
            new_execution_id(), deadline, idempotent=True, grace=grace, errands=errands
        )
        self._revision = revision
        self._code = code
        self.kind = code.kind

    def _message(self, timeout: float) -> Check:
        return Check(self.id, self._revision, self._code, timeout)

    def need_program(self, attempt: Attempt) -> None:
        """A check brings its program along."""

    def checked(self, end: End) -> Checked | None:
        """What the caller gets, also when the program is not valid."""
        if not isinstance(end, Checked):
            return None
        if end.failure is None:
            return end
        if end.failure.type == WORKER_LOST:
            return None
        return msgspec.structs.replace(end, failure=self._fault(end.failure))

    def _fault(self, failure: Failure) -> Failure:
        """Whatever an import ended in is the program's fault, and would be so again; but for one
        that had little time, as all workers were busy."""
        seconds = self.deadline - self._sent_at
        if failure.type == "deadline-exceeded" and seconds >= IMPORT_SECONDS:
            place = f"{failure.path}: " if failure.path else ""
            why = f"{place}its import did not end within {seconds:.0f} s"
        elif failure.type in OF_THE_PROGRAM:
            why = f"its import failed: {failure.detail}"
        else:
            return failure
        return msgspec.structs.replace(failure, type="invalid-program", detail=why)

    def members(self) -> dict[str, Any]:
        return {**super().members(), "revision": self._revision}


def _logs(printed: Output | None) -> dict[str, Any] | None:
    if printed is None:
        return None
    return {"stdout": printed.stdout, "stderr": printed.stderr, "cutBytes": printed.cut_bytes}
