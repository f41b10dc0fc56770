"""One claimed job: its attempts, and what each end of one means for it.

An attempt that has certainly not begun counts for nothing, and is made again. After it, and after
one that ended badly if the program is idempotent and has attempts left, the job is put back to
wait, so that others have its place meanwhile. The end is written before anything else may begin;
while the store is away, it is kept here until that is back.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import msgspec

from anypod.api.jobs import State
from anypod.api.problems import AnyPodError, Problem, problem
from anypod.store.job_records import Job, Printed, Progress
from anypod.store.jobs import Ended, Held, JobStore, Loaded
from anypod.store.kv import Conflict, StoreUnavailable, ValueTooLarge
from anypod.store.programs import Following
from anypod.wire import messages
from anypod.wire.messages import Code
from anypod_gateway import answers
from anypod_gateway.calls import Call
from anypod_gateway.executions import ExecutionAnswer, ExecutionRequest, ToldLost
from anypod_gateway.failures import problem_of
from anypod_gateway.jobs import ends
from anypod_gateway.jobs.lease import SILENCE_SECONDS, margin

log = logging.getLogger(__name__)

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
LONGEST_PATIENCE = 600.0
"""Where more is asked for."""
FIRST_PAUSE_UNBEGUN = 0.5
LONGEST_PAUSE_UNBEGUN = 8.0
LOOK_SECONDS = 0.5
SETTLE_AGAIN_SECONDS = 1.0
ANSWER_SECONDS = 3.0
"""For a worker to answer for what it has broken off, beside the grace."""
PROGRESS_SECONDS = 1.0
"""Between two times that a job's progress is told to the store."""

NOT_AGAIN = frozenset(
    {
        "bad-request",
        "budget-spent",
        "invalid-inputs",
        "invalid-program",
        "lm-auth",
        "lm-context-window",
        "lm-refused",
        "output-not-serializable",
        "output-too-large",
        "program-not-found",
        "too-large",
        "session-not-found",
        "session-lost",
    }
)
"""Another attempt would end the same."""
NEVER_BEGUN = frozenset({"no-worker", "queue-full", "session-busy", "pool-not-found"})
NOTHING_FOLLOWS = Following()
_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a job needs of its pool."""

    store: JobStore
    run: Callable[[ExecutionRequest], Awaitable[ExecutionAnswer]]
    code: Callable[[Job], Awaitable[Code]]
    holds: Callable[[int], bool]
    """Whether what was claimed by that lease is still this gateway's."""
    revised: Callable[[Job, Code | None, bytes], Awaitable["Revised"]]
    """What a task's outputs become, and what is to be written with them."""
    is_gone: Callable[[str], bool]
    """Whether that worker's process certainly is no more."""
    is_well: Callable[[str], bool]
    """Whether that worker is there, and stays."""
    grace: Callable[[], float]
    keep_seconds: Callable[[], float]
    check: Callable[[Job], Awaitable[None]]
    """Raises AnyPodError if the job's program, or that revision of it, is no more."""


class Revised(Protocol):
    @property
    def outputs(self) -> bytes: ...

    @property
    def following(self) -> Following: ...

    @property
    def lesser(self) -> "Revised | None":
        """What it is instead when the store does not take all of that."""
        ...


class NotBegun(Exception):
    """The attempt has certainly not begun, and may be made again."""


class Stopped(Exception):
    """The attempt was broken off, by us."""


class Work:
    def __init__(self, around: Surroundings, held: Held, loaded: Loaded) -> None:
        self._around = around
        self._held = held
        self._loaded = loaded
        self._sent = False
        self._attempt: asyncio.Task[ExecutionAnswer] | None = None
        self._stop = asyncio.Event()
        self._cancelled = False
        self._progress: Progress | None = None
        self._used: messages.Usage | None = None
        self._answered = asyncio.Event()
        """A worker has said how the attempt ended, or that it did not begin."""
        self._told = asyncio.Event()

    # told from outside

    def cancel(self) -> None:
        """Its owner wants it to end."""
        self._cancelled = True
        self.stop()

    def stop(self) -> None:
        """This gateway must not go on with it."""
        self._stop.set()
        if self._attempt is not None:
            self._attempt.cancel()

    @property
    def lease(self) -> int:
        """By which it was claimed."""
        return self._held.lease

    @property
    def may_be_taken_over(self) -> bool:
        """Others would run it again when our claim is gone."""
        job = self._held.job
        return job.may_run_again or not self._sent

    # from the claim to the end

    async def run(self) -> State | None:
        """The final state that it was brought to; None when it is left to others."""
        telling = asyncio.ensure_future(self._tell_progress())
        try:
            return await self._run_or_fail()
        except Conflict:
            log.info("job %s is not this gateway's any more", self._held.job.id)
            return None
        finally:
            telling.cancel()
            await asyncio.wait({telling})

    async def _run_or_fail(self) -> State | None:
        """A job whose gateway lives and is not at it would keep its place from others for ever."""
        try:
            return await self._run()
        except Conflict:
            raise
        except Exception:
            log.exception("job %s ends here, by a fault of ours", self._held.job.id)
            await self._finish(ends.broken(self._held.job))
            return "failed"

    async def _run(self) -> State | None:
        try:
            answer = await self._once()
        except NotBegun as why:
            log.info("job %s waits: %s", self._held.job.id, why)
            self._sent = False
            if self._stop.is_set():
                return await self._broken_off()
            await self._put_back_unbegun()
            return None
        except Stopped:
            return await self._broken_off()
        except AnyPodError as failure:
            if not self._is_worth_another(failure):
                return await self._failed(failure.problem)
            pause = await self._recover(failure)
            if self._stop.is_set():
                return await self._broken_off()
            await self._put_back(failure.problem, pause)
            return None
        return await self._succeeded(answer)

    async def _once(self) -> ExecutionAnswer:
        """Raises NotBegun, Stopped, AnyPodError."""
        if self._stop.is_set():
            raise Stopped
        self._sent = False
        attempt = self._attempt = asyncio.ensure_future(self._execute())
        try:
            await asyncio.wait({attempt})
            return attempt.result()
        except asyncio.CancelledError:
            if self._stop.is_set() and attempt.cancelled():
                raise Stopped from None
            raise
        except AnyPodError as failure:
            if self._has_not_begun(failure):
                raise NotBegun(str(failure)) from None
            raise
        except StoreUnavailable as away:  # its program could not be read
            raise NotBegun(str(away)) from None
        except Exception as failure:  # noqa: BLE001 - the job ends with it, and it is logged there
            raise AnyPodError(problem_of(failure, Call())) from None
        finally:
            self._attempt = None
            attempt.cancel()

    async def _execute(self) -> ExecutionAnswer:
        if self._loaded.code is None:  # else it came with the job
            await self._around.check(self._held.job)
        return await self._around.run(self._request())

    def _has_not_begun(self, failure: AnyPodError) -> bool:
        if failure.type in NEVER_BEGUN:
            return True
        return failure.type == "deadline-exceeded" and failure.problem.attempt is None

    def _request(self) -> ExecutionRequest:
        job, loop = self._held.job, asyncio.get_running_loop()
        return ExecutionRequest(
            execution=job.execution,
            program=job.program,
            revision=job.revision,
            code=self._code,
            inputs=self._loaded.inputs,
            deadline=loop.time() + job.timeout_seconds,
            logs=True,
            session=job.session,
            lm=job.lm,
            shows_replies=job.shows_replies,
            concurrency=job.concurrency,
            kind=job.kind,
            holds=self._may_send,
            on_progress=self._heard,
            on_end=self._ended,
        )

    async def _code(self) -> Code:
        return self._loaded.code or await self._around.code(self._held.job)

    def _may_send(self) -> bool:
        if not self._around.holds(self._held.lease):
            return False
        self._sent = True
        self._answered.clear()
        return True

    def _ended(self, used: messages.Usage | None) -> None:
        self._used = used
        self._answered.set()

    # between two attempts

    def _is_worth_another(self, failure: AnyPodError) -> bool:
        return self._held.job.may_run_again and failure.type not in NOT_AGAIN

    async def _recover(self, failure: AnyPodError) -> float:
        """Seconds until the next attempt, when nothing of this one can run any more."""
        if failure.type == "worker-lost":
            worker = failure.problem.worker or ""
            if isinstance(failure, ToldLost) and self._around.is_well(worker):
                return 0.0  # it is not the worker that died, and what did is gone
            await self._outlive(worker)
        return pause_after(self._held.job.attempts, failure.problem.retry_after)

    async def _outlive(self, worker: str) -> None:
        """Until what was lost there cannot run any more."""
        loop = asyncio.get_running_loop()
        until = loop.time() + SILENCE_SECONDS
        while not self._around.is_gone(worker) and loop.time() < until and not self._stop.is_set():
            await self._pause(LOOK_SECONDS)
        await self._pause(self._around.grace())

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            pass

    async def _put_back(self, why: Problem, pause: float) -> None:
        job = msgspec.structs.replace(
            self._held.job, problem=why.type, detail=why.detail, unbegun=0
        )
        await self._wait_outside(job, pause)

    async def _put_back_unbegun(self) -> None:
        job = self._held.job
        waiting = msgspec.structs.replace(job, attempts=job.attempts - 1, unbegun=job.unbegun + 1)
        await self._wait_outside(waiting, pause_unbegun(waiting.unbegun))

    async def _wait_outside(self, job: Job, pause: float) -> None:
        """So that others run while it waits."""
        now = datetime.now(UTC)
        later = now + timedelta(seconds=pause)
        queued = msgspec.structs.replace(job, waits_until=later).to("queued", now)
        await self._insist(lambda: self._around.store.release(self._held, queued, pause))

    # ends

    async def _succeeded(self, answer: ExecutionAnswer) -> State:
        if not self._held.job.task_of:
            try:
                return await self._gave(answer)
            except ValueTooLarge as large:
                return await self._too_large(answer, large)
        while True:
            try:
                revised = await self._revised(answer.outputs)
            except Exception as failure:  # noqa: BLE001 - the job ends with it, and it is logged
                return await self._failed(problem_of(failure, Call()))
            try:
                return await self._ended_with(revised, answer)
            except Conflict:  # else its program has just changed
                if not revised.following.writes or not await self._is_ours():
                    raise

    async def _ended_with(self, revised: Revised, answer: ExecutionAnswer) -> State:
        found = msgspec.structs.replace(answer, outputs=revised.outputs)
        try:
            return await self._gave(found, revised.following)
        except ValueTooLarge as large:
            if revised.lesser is None:
                return await self._too_large(found, large)
            return await self._ended_with(revised.lesser, answer)

    async def _revised(self, outputs: bytes) -> Revised:
        found: list[Revised] = []

        async def revise() -> None:
            found.append(await self._around.revised(self._held.job, self._loaded.code, outputs))

        await self._insist(revise)
        return found[0]

    async def _is_ours(self) -> bool:
        found: list[bool] = []

        async def look() -> None:
            found.append(await self._around.store.is_held(self._held))

        await self._insist(look)
        return found[0]

    async def _gave(self, answer: ExecutionAnswer, following: Following = NOTHING_FOLLOWS) -> State:
        """Raises ValueTooLarge."""
        info = answer.info
        job = self._final(
            "succeeded",
            status=200,
            worker=info.worker,
            queue_seconds=info.queue_seconds,
            run_seconds=info.run_seconds,
            problem="",
            detail="",
        )
        told = msgspec.structs.replace(info, revision=job.told_revision, attempt=job.attempts)
        unprinted = msgspec.structs.replace(answer, info=told, printed=None)
        ended = Ended(job, answers.run_body(unprinted), ends.printed_of(answer.printed))
        await self._finish(ended, following)
        return "succeeded"

    async def _too_large(self, answer: ExecutionAnswer, large: ValueTooLarge) -> State:
        info = answer.info
        why = problem(
            "output-too-large",
            f"the result has {large.size} bytes; the store takes {large.limit}",
            limit=large.limit,
            execution=info.execution,
            program=info.program or None,
            revision=info.revision,
            worker=info.worker,
            attempt=info.attempt,
            session=info.session,
        )
        return await self._failed(why, ends.printed_of(answer.printed))

    async def _failed(self, why: Problem, printed: Printed | None = None) -> State:
        state: State = "lost" if why.type == "worker-lost" else "failed"
        held = self._held.job
        told = msgspec.structs.replace(
            why,
            logs=None,
            revision=held.told_revision,
            attempt=None if why.attempt is None else held.attempts,
        )
        job = self._final(
            state,
            status=why.status,
            worker=why.worker or "",
            problem=why.type,
            detail=why.detail,
        )
        await self._finish(Ended(job, _encode(told), printed or ends.logged(why)))
        return state

    async def _broken_off(self) -> State | None:
        job = self._held.job
        if self._cancelled:
            await self._finish(ends.cancelled(job, self._progress, await self._paid()))
            return "cancelled"
        if not self._sent or job.may_run_again:
            if self._sent:  # what runs is interrupted, then killed
                await self._answered_within(margin(self._around.grace()))
            await self._release(job.to("queued", datetime.now(UTC)))
            return None
        await self._finish(ends.lost(job, self._progress))
        return "lost"

    async def _paid(self) -> messages.Usage | None:
        """What it has asked of an LM, as its worker says when it has broken it off."""
        if self._sent and self._held.job.kind == "dspy":
            await self._answered_within(self._around.grace() + ANSWER_SECONDS)
        return self._used

    async def _answered_within(self, seconds: float) -> None:
        """Until its worker has said that it runs no more, or that time is over."""
        try:
            async with asyncio.timeout(seconds):
                await self._answered.wait()
        except TimeoutError:
            log.info("job %s: its worker does not say that it has ended", self._held.job.id)

    async def _release(self, job: Job) -> None:
        if not self._sent:  # it has not been made
            job = msgspec.structs.replace(job, attempts=job.attempts - 1)
        await self._insist(lambda: self._around.store.release(self._held, job))

    def _final(self, state: State, **changes: object) -> Job:
        return ends.final(self._held.job, state, progress=self._progress, **changes)

    async def _finish(self, ended: Ended, following: Following = NOTHING_FOLLOWS) -> None:
        """What was printed is the first to be left out. Raises ValueTooLarge."""
        try:
            await self._written(ended, following)
        except ValueTooLarge:
            if ended.printed is None:
                raise
            await self._written(ends.unprinted(ended), following)

    async def _written(self, ended: Ended, following: Following) -> None:
        around = self._around

        async def finish() -> None:
            await around.store.finish(
                self._held,
                ended,
                around.keep_seconds(),
                also=following.writes,
                when=following.when,
            )

        await self._insist(finish)

    async def _insist(self, write: Callable[[], Awaitable[None]]) -> None:
        """Raises Conflict: what was written although nobody said so looks like that, too."""
        while True:
            try:
                await write()
            except StoreUnavailable as away:
                log.warning("job %s: not written yet: %s", self._held.job.id, away)
                await asyncio.sleep(SETTLE_AGAIN_SECONDS)
            else:
                return

    # progress

    def _heard(self, said: messages.Progress) -> None:
        self._progress = Progress(done=said.done, total=said.total, message=said.message)
        self._told.set()

    async def _tell_progress(self) -> None:
        while True:
            await self._told.wait()
            self._told.clear()
            progress = self._progress
            assert progress is not None
            try:
                await self._around.store.tell(self._held, progress)
            except (Conflict, StoreUnavailable) as why:
                log.info("progress of job %s is not told: %s", self._held.job.id, why)
            await asyncio.sleep(PROGRESS_SECONDS)


def pause_after(attempts: int, asked: int | None) -> float:
    """Seconds until the next attempt; ``asked``: those that the last one was told to wait."""
    pause = min(FIRST_PAUSE * 2.0 ** (attempts - 1), LONGEST_PAUSE)
    return max(pause, min(asked or 0, LONGEST_PATIENCE))


def pause_unbegun(times: int) -> float:
    """Seconds until it is seen whether the next attempt may begin, after so many that did not."""
    return min(FIRST_PAUSE_UNBEGUN * 2.0 ** min(times - 1, 10), LONGEST_PAUSE_UNBEGUN)
