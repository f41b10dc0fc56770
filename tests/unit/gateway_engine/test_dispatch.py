"""What becomes of an execution when its worker answers, refuses, is lost, or says nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSCloseCode
from tests.support.engine import LMS, Gateway, Site, gateway, request, site, until
from tests.support.scripted_worker import ScriptedWorker, load, scripted_worker
from tests.support.worker import code_of, revision_of

from anypod.api import usage
from anypod.api.problems import AnyPodError, error
from anypod.store.kv import StoreUnavailable
from anypod.wire.codec import CLOSE_DRAINED, CLOSE_PROTOCOL
from anypod.wire.messages import (
    WINDOW,
    Cancel,
    Check,
    Checked,
    Chunk,
    Code,
    Credit,
    Draining,
    Execute,
    Failure,
    Log,
    NeedProgram,
    Output,
    Program,
    Result,
    Usage,
)
from anypod_gateway import courses, workers
from anypod_gateway.executions import ExecutionAnswer

SOURCE = "def main(): ..."


@dataclass
class Scene:
    site: Site
    gateway: Gateway
    workers: list[ScriptedWorker]

    @property
    def worker(self) -> ScriptedWorker:
        return self.workers[0]

    def start(self, **how: Any) -> "asyncio.Task[ExecutionAnswer]":
        return asyncio.create_task(self.gateway.run(SOURCE, **how))

    async def left_stream(self) -> Execute:
        """Of a stream whose caller has had the first chunk, and has left."""
        stream = self.gateway.pool.runner.stream(request(SOURCE))
        first = asyncio.create_task(anext(stream))
        execute = await self.worker.next(Execute)
        await self.worker.send(Chunk(execute.id, b"1"))
        await first
        await stream.aclose()
        return execute

    async def who_got_it(self) -> tuple[ScriptedWorker, Execute]:
        """The worker that an execution has come to."""
        await until(lambda: any(worker.received for worker in self.workers))
        (worker,) = [worker for worker in self.workers if worker.received]
        return worker, await worker.next(Execute)

    def other(self, worker: ScriptedWorker) -> ScriptedWorker:
        (other,) = [each for each in self.workers if each is not worker]
        return other


@asynccontextmanager
async def scene(
    directory: Path, count: int = 1, executors: int = 1, **spec: Any
) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        place = await stack.enter_async_context(site(directory, **spec))
        played = [
            await stack.enter_async_context(scripted_worker(f"w{n}", executors=executors))
            for n in range(1, count + 1)
        ]
        for worker in played:
            await place.add(worker)
        front = await stack.enter_async_context(gateway(place))
        await front.sees(*(worker.name for worker in played))
        yield Scene(place, front, played)


async def failure_of(task: "asyncio.Task[Any]") -> AnyPodError:
    with pytest.raises(AnyPodError) as caught:
        await asyncio.wait_for(task, 20)
    return caught.value


async def test_an_answer_says_how_the_execution_went(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        task = it.start(inputs={"x": 1}, logs=True)
        execute = await it.worker.next(Execute)
        assert json.loads(execute.inputs) == {"x": 1}
        assert execute.attempt == 1
        assert execute.logs
        assert 0 < execute.timeout <= 30
        assert it.gateway.pool.in_flight() == 1
        printed = Output("out", "err", 3)
        await it.worker.answer(execute, b"[2]", wait_seconds=0.5, printed=printed)
        answer = await task
        assert answer.outputs == b"[2]"
        assert answer.printed == printed
        assert answer.info.execution == execute.id
        assert answer.info.worker == "w1"
        assert answer.info.attempt == 1
        assert answer.info.queue_seconds >= 0.5
        assert it.gateway.nothing_is_left()


async def test_a_worker_that_lacks_the_program_gets_it(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        task = it.start()
        execute = await it.worker.next(Execute)
        await it.worker.send(NeedProgram(execute.id, execute.revision))
        program = await it.worker.next(Program)
        assert (program.id, program.revision) == (execute.id, execute.revision)
        assert program.code == code_of(SOURCE)
        await it.worker.answer(execute)
        await task


async def test_a_program_that_cannot_be_fetched_fails_its_execution_and_frees_the_worker(
    tmp_path: Path,
) -> None:
    async def nowhere() -> Code:
        raise error("program-not-found", "it was deleted meanwhile")

    async with scene(tmp_path) as it:
        task = it.start(code=nowhere)
        execute = await it.worker.next(Execute)
        await it.worker.send(NeedProgram(execute.id, execute.revision))
        assert (await failure_of(task)).type == "program-not-found"
        assert (await it.worker.next(Cancel)).id == execute.id
        assert it.gateway.pool.in_flight() == 1  # the worker has not said that it is free
        await it.worker.answer(execute)
        await until(it.gateway.nothing_is_left)


async def test_a_program_that_is_not_fetched_in_time_misses_its_deadline(tmp_path: Path) -> None:
    async def never() -> Code:
        await asyncio.Event().wait()
        raise AssertionError

    async with scene(tmp_path) as it:
        task = it.start(code=never, seconds=2)
        execute = await it.worker.next(Execute)
        await it.worker.send(NeedProgram(execute.id, execute.revision))
        problem = (await failure_of(task)).problem
        assert (problem.type, problem.execution) == ("deadline-exceeded", execute.id)
        await it.worker.answer(execute)
        await until(it.gateway.nothing_is_left)


async def test_a_programs_failure_is_told_with_all_that_is_known(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        task = it.start(logs=True)
        execute = await it.worker.next(Execute)
        failure = Failure("program-error", "ValueError: no", exception="ValueError", line=3)
        printed = Output("a", "b", 1)
        await it.worker.send(Result(execute.id, 0.1, failure=failure, printed=printed))
        problem = (await failure_of(task)).problem
        assert (problem.status, problem.exception, problem.line) == (500, "ValueError", 3)
        assert problem.execution == execute.id
        assert problem.program == "program"
        assert problem.revision == execute.revision
        assert (problem.worker, problem.attempt) == ("w1", 1)
        assert problem.logs == {"stdout": "a", "stderr": "b", "cutBytes": 1}


async def test_what_is_said_of_unknown_executions_is_ignored(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        await it.worker.send(
            Result("x-unknown", 0.0, outputs=b"1"),
            Chunk("x-unknown", b"1"),
            NeedProgram("x-unknown", "r"),
            Checked("x-unknown"),
        )
        task = it.start()
        await it.worker.answer(await it.worker.next(Execute), b"2")
        assert (await task).outputs == b"2"
        assert len(it.worker.handshakes) == 1


# refusals


@pytest.mark.parametrize("reason", ["full", "draining", "not-ready"])
async def test_a_refused_execution_goes_to_another_worker_and_counts_no_attempt(
    tmp_path: Path, reason: str
) -> None:
    async with scene(tmp_path, 2) as it:
        task = it.start()
        first, execute = await it.who_got_it()
        await first.refuse(execute, reason)
        second, again = await it.who_got_it()
        assert second is not first
        assert again.id == execute.id
        assert again.attempt == 1
        await second.answer(again)
        assert (await task).info.attempt == 1
        assert it.gateway.heard.retried == {reason: 1}


async def test_a_full_worker_is_asked_again_when_it_has_something_to_say(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        task = it.start()
        execute = await it.worker.next(Execute)
        waiting = it.start()
        await until(lambda: it.gateway.pool.queued() == 1)
        await it.worker.refuse(execute, "full")
        await until(lambda: it.gateway.pool.queued() == 2)
        await it.worker.send(load())
        again = await it.worker.next(Execute)
        assert again.id == execute.id  # it had its turn already, and goes first
        await it.worker.answer(again)
        await it.worker.answer(await it.worker.next(Execute))
        await asyncio.gather(task, waiting)


async def test_a_full_worker_that_says_nothing_is_asked_again_soon(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        task = it.start()
        await it.worker.refuse(await it.worker.next(Execute), "full")
        await it.worker.answer(await it.worker.next(Execute))
        await task


async def test_endless_refusals_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courses, "MAX_PLACED", 3)
    async with scene(tmp_path) as it:
        task = it.start()
        for _ in range(3):
            await it.worker.refuse(await it.worker.next(Execute), "full")
            await it.worker.send(load())
        assert (await failure_of(task)).type == "no-worker"
        await until(it.gateway.nothing_is_left)


# lost workers


async def test_what_may_have_started_is_not_repeated(tmp_path: Path) -> None:
    async with scene(tmp_path, 2) as it:
        task = it.start()
        first, _ = await it.who_got_it()
        first.drop()
        lost = await failure_of(task)
        assert lost.status == 502
        assert lost.type == "worker-lost"
        assert "may have happened" in lost.problem.detail
        assert (lost.problem.worker, lost.problem.attempt) == (first.name, 1)
        assert not it.other(first).received
        await until(it.gateway.nothing_is_left)


async def test_what_a_stopped_worker_has_not_answered_did_not_run(tmp_path: Path) -> None:
    """It was on its way when the worker, which had nothing to finish, stopped."""
    async with scene(tmp_path, 2) as it:
        task = it.start()
        first, execute = await it.who_got_it()
        await first.close(CLOSE_DRAINED)
        second, again = await it.who_got_it()
        assert second is not first
        assert (again.id, again.attempt) == (execute.id, 1)
        await second.answer(again)
        assert (await task).info.attempt == 1


async def test_what_a_worker_that_gives_up_has_not_answered_may_have_run(tmp_path: Path) -> None:
    async with scene(tmp_path, 2) as it:
        task = it.start()
        first, _ = await it.who_got_it()
        await first.close(WSCloseCode.GOING_AWAY)
        assert (await failure_of(task)).type == "worker-lost"


async def test_an_idempotent_program_runs_again_elsewhere(tmp_path: Path) -> None:
    async with scene(tmp_path, 2) as it:
        task = it.start(idempotent=True)
        first, execute = await it.who_got_it()
        first.drop()
        second, again = await it.who_got_it()
        assert second is not first
        assert (again.id, again.attempt) == (execute.id, 2)
        await second.answer(again)
        assert (await task).info.attempt == 2
        assert it.gateway.heard.retried == {"worker-lost": 1}


async def test_an_idempotent_program_runs_three_times_at_most(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        task = it.start(idempotent=True)
        for attempt in (1, 2, 3):
            execute = await it.worker.next(Execute)
            assert execute.attempt == attempt
            it.worker.drop()
        lost = await failure_of(task)
        assert (lost.type, lost.problem.attempt) == ("worker-lost", 3)


async def test_a_store_that_is_away_after_an_attempt_was_lost_does_not_hide_it(
    tmp_path: Path,
) -> None:
    async def away() -> Code:
        raise StoreUnavailable("gone")

    async with scene(tmp_path, 2) as it:
        task = it.start(idempotent=True, code=away)
        first, execute = await it.who_got_it()
        first.drop()
        second, execute = await it.who_got_it()
        await second.send(NeedProgram(execute.id, execute.revision))
        failure = await failure_of(task)
        assert failure.type == "store-unavailable"
        assert "may have happened" in failure.problem.detail
        assert failure.problem.attempt == 2


async def test_a_worker_that_was_stopped_under_an_execution_is_a_lost_one(tmp_path: Path) -> None:
    async with scene(tmp_path, 2) as it:
        stopped = Failure("worker-lost", "the worker was stopped")
        once = it.start()
        worker, execute = await it.who_got_it()
        await worker.send(Result(execute.id, 0.1, failure=stopped))
        assert (await failure_of(once)).type == "worker-lost"
        twice = it.start(idempotent=True)
        worker, execute = await it.who_got_it()
        await worker.send(Result(execute.id, 0.1, failure=stopped))
        worker, execute = await it.who_got_it()
        assert execute.attempt == 2
        await worker.answer(execute)
        assert (await twice).info.attempt == 2


async def test_what_waits_for_its_program_has_not_started(tmp_path: Path) -> None:
    held = asyncio.Event()

    async def slow() -> Code:
        await held.wait()
        return code_of(SOURCE)

    async with scene(tmp_path, 2) as it:
        task = it.start(code=slow)
        first, execute = await it.who_got_it()
        await first.send(NeedProgram(execute.id, execute.revision))
        (worker,) = [w for w in it.gateway.pool.roster.workers.values() if w.name == first.name]
        await until(lambda: worker._open[execute.id].asked)
        first.drop()
        second, again = await it.who_got_it()
        assert second is not first
        assert again.attempt == 1
        held.set()
        await second.answer(again)
        assert (await task).info.attempt == 1
        assert it.gateway.heard.retried == {"not-sent": 1}


async def test_what_has_got_its_program_may_have_started(tmp_path: Path) -> None:
    async with scene(tmp_path, 2) as it:
        task = it.start()
        first, execute = await it.who_got_it()
        await first.send(NeedProgram(execute.id, execute.revision))
        await first.next(Program)
        first.drop()
        assert (await failure_of(task)).type == "worker-lost"


async def test_a_check_is_repeated_when_its_worker_is_lost(tmp_path: Path) -> None:
    async with scene(tmp_path, 2) as it:
        code = code_of(SOURCE)
        deadline = asyncio.get_running_loop().time() + 20
        task = asyncio.create_task(it.gateway.pool.runner.check(revision_of(code), code, deadline))
        await until(lambda: any(worker.received for worker in it.workers))
        (first,) = [worker for worker in it.workers if worker.received]
        assert (await first.next(Check)).code == code
        first.drop()
        check = await it.other(first).next(Check)
        invalid = Failure("invalid-program", "a syntax error", line=2)
        await it.other(first).send(Checked(check.id, invalid))
        assert (await task).failure == invalid
        await until(it.gateway.nothing_is_left)


@pytest.mark.parametrize(
    ("failure", "seconds", "type_"),
    [
        (Failure("program-exited", "it ended", exit_code=3), 60, "invalid-program"),
        (Failure("program-crashed", "it was killed", signal="SIGSEGV"), 60, "invalid-program"),
        (Failure("out-of-memory", "it was killed"), 60, "invalid-program"),
        (Failure("deadline-exceeded", "it did not end"), 60, "invalid-program"),
        (Failure("deadline-exceeded", "late", path="tools.0.source"), 60, "invalid-program"),
        (Failure("deadline-exceeded", "it did not end"), 5, "deadline-exceeded"),
        (Failure("internal-error", "the worker failed"), 60, "internal-error"),
    ],
    ids=lambda value: getattr(value, "type", str(value)),
)
async def test_what_an_import_ends_in_is_the_programs_fault_if_it_had_its_time(
    tmp_path: Path, failure: Failure, seconds: float, type_: str
) -> None:
    async with scene(tmp_path) as it:
        code = code_of(SOURCE)
        deadline = asyncio.get_running_loop().time() + seconds
        task = asyncio.create_task(it.gateway.pool.runner.check(revision_of(code), code, deadline))
        check = await it.worker.next(Check)
        await it.worker.send(Checked(check.id, failure))
        told = (await task).failure
        assert told is not None
        assert (told.type, told.exit_code, told.signal, told.path) == (
            type_,
            failure.exit_code,
            failure.signal,
            failure.path,
        )


# callers that leave, workers that say nothing


async def test_a_caller_that_leaves_stops_its_execution_and_frees_the_executor_when_it_ends(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as it:
        task = it.start()
        execute = await it.worker.next(Execute)
        task.cancel()
        assert (await it.worker.next(Cancel)).id == execute.id
        waiting = it.start()
        await until(lambda: it.gateway.pool.queued() == 1)
        await it.worker.answer(execute)
        await it.worker.answer(await it.worker.next(Execute))
        await waiting
        assert it.gateway.nothing_is_left()


async def test_what_was_asked_of_an_lm_is_counted_once_whoever_waits(tmp_path: Path) -> None:
    async with scene(tmp_path, lms=LMS) as it:
        awaited, left, closed, last = (Usage("fast", calls) for calls in (1, 2, 3, 4))
        task = it.start()
        await it.worker.answer(await it.worker.next(Execute), usage=awaited)
        await task
        task = it.start()
        execute = await it.worker.next(Execute)
        task.cancel()
        await it.worker.next(Cancel)
        stopped = Failure("deadline-exceeded", "the execution was cancelled")
        for _ in range(2):
            await it.worker.send(Result(execute.id, 0.1, failure=stopped, usage=left))
        execute = await it.left_stream()
        await it.worker.answer(execute, usage=closed)
        task = it.start()
        await it.worker.answer(await it.worker.next(Execute), usage=last)
        await task
        assert it.gateway.heard.usage == [awaited, left, closed, last]


async def test_what_was_asked_of_an_lm_is_told_though_its_process_was_lost(tmp_path: Path) -> None:
    async with scene(tmp_path, lms=LMS) as it:
        task = it.start()
        execute = await it.worker.next(Execute)
        lost = Failure("worker-lost", "another execution has ended its process")
        await it.worker.send(Result(execute.id, 0.1, failure=lost, usage=Usage("fast", 2, 10)))
        assert (await failure_of(task)).problem.usage == usage.Usage("fast", 2, 10, 0)
        assert it.gateway.heard.usage == [Usage("fast", 2, 10)]


async def test_what_all_attempts_asked_of_an_lm_is_told(tmp_path: Path) -> None:
    async with scene(tmp_path, lms=LMS) as it:
        task = it.start(idempotent=True)
        lost = Failure("worker-lost", "another execution has ended its process")
        for cost in (None, 0.5):
            execute = await it.worker.next(Execute)
            used = Usage("fast", 1, 10, 2, cost)
            await it.worker.send(Result(execute.id, 0.1, failure=lost, usage=used))
        await it.worker.answer(await it.worker.next(Execute), usage=Usage("fast", 2, 20, 3, 1.0))
        answer = await task
        assert (answer.info.attempt, answer.usage) == (3, Usage("fast", 4, 40, 7, 1.5))
        assert len(it.gateway.heard.usage) == 3


async def test_a_call_that_is_left_before_it_was_sent_is_never_sent(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        runner = it.gateway.pool.runner
        left = runner.run(request(SOURCE, {"n": 0}))
        left.send(None)  # up to where it waits: within one turn of the loop
        assert it.gateway.pool.in_flight() == 1
        left.close()
        assert it.gateway.nothing_is_left()
        task = it.start(inputs={"n": 1})
        execute = await it.worker.next(Execute)
        assert json.loads(execute.inputs) == {"n": 1}
        assert not it.worker.received
        await it.worker.answer(execute)
        await task


async def test_a_worker_that_misses_the_deadline_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courses, "OVERDUE_SECONDS", 0.0)
    monkeypatch.setattr(workers, "ABANDONED_SECONDS", 0.0)
    async with scene(tmp_path, limits={"interruptGraceSeconds": 0}) as it:
        task = it.start(seconds=0.1)
        execute = await it.worker.next(Execute)
        overdue = await failure_of(task)
        assert overdue.status == 504
        assert overdue.problem.execution == execute.id
        assert (await it.worker.next(Cancel)).id == execute.id
        await until(it.gateway.nothing_is_left)  # it does not answer that, either
        await it.worker.answer(execute)
        task = it.start()
        await it.worker.answer(await it.worker.next(Execute), b"3")
        assert (await task).outputs == b"3"


async def test_an_execution_whose_time_is_over_is_not_sent(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        assert (await failure_of(it.start(seconds=-1))).type == "deadline-exceeded"
        assert it.gateway.nothing_is_left()


# placement


async def test_a_worker_that_drains_or_is_not_ready_gets_nothing_new(tmp_path: Path) -> None:
    async with scene(tmp_path, 2) as it:
        first, second = it.workers
        await first.send(Draining())
        await it.gateway.sees("w2")
        task = it.start()
        await second.answer(await second.next(Execute))
        await task
        await second.send(load(ready=False, message="preloading pandas"))
        await it.gateway.sees()
        documents = {worker.name: worker for worker in it.gateway.pool.workers()}
        assert documents["w1"].draining
        assert documents["w2"].message == "preloading pandas"
        waiting = it.start(seconds=0.2)
        assert "preloading pandas" in (await failure_of(waiting)).problem.detail
        await second.send(load())
        await it.gateway.sees("w2")


async def test_what_the_pools_file_says_decides_who_gets_work(tmp_path: Path) -> None:
    async with scene(tmp_path, 2) as it:
        await it.site.add(it.workers[0], ready=False)
        await it.gateway.sees("w2")
        await it.site.add(it.workers[1], terminating=True)
        await it.gateway.sees()
        await it.site.add(it.workers[0], ready=True)
        await it.gateway.sees("w1")
        await it.site.forget("w1")
        await until(lambda: len(it.gateway.pool.workers()) == 1)


async def test_what_runs_on_a_worker_that_is_taken_out_still_ends(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        task = it.start()
        execute = await it.worker.next(Execute)
        await it.site.forget("w1")
        await until(lambda: not it.gateway.pool.workers())
        await it.worker.answer(execute, b"1")
        assert (await task).outputs == b"1"
        await it.worker.until(lambda: it.worker.close_codes)  # then its link is closed


async def test_a_busy_pool_serves_in_the_order_of_arrival(tmp_path: Path) -> None:
    async with scene(tmp_path, executors=2) as it:
        tasks = []
        for number in range(6):
            tasks.append(it.start(inputs={"n": number}))
            await asyncio.sleep(0)
        order = []
        for _ in tasks:
            execute = await it.worker.next(Execute)
            order.append(json.loads(execute.inputs)["n"])
            await it.worker.answer(execute)
        await asyncio.gather(*tasks)
        assert order == [0, 1, 2, 3, 4, 5]


async def test_a_pool_that_is_deleted_answers_those_who_wait(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        running = it.start()
        await it.worker.next(Execute)
        waiting = it.start()
        await until(lambda: it.gateway.pool.queued() == 1)
        await asyncio.to_thread(it.site.path.write_text, '{"pools": []}')
        assert (await failure_of(waiting)).type == "pool-not-found"
        assert (await failure_of(running)).type == "worker-lost"
        assert not it.gateway.pools.current()


# streams


async def events_of(it: Scene, **how: Any) -> list[Any]:
    return [event async for event in it.gateway.pool.runner.stream(request(SOURCE, **how))]


async def test_a_stream_gives_chunks_and_logs_and_last_the_answer(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        task = asyncio.create_task(events_of(it, logs=True))
        execute = await it.worker.next(Execute)
        assert execute.stream
        chunk, line = Chunk(execute.id, b"1"), Log(execute.id, "stdout", "hello")
        await it.worker.send(chunk, line, Result(execute.id, 0.1))
        events = await task
        assert events[:2] == [chunk, line]
        assert events[2].outputs == b"null"
        assert it.gateway.nothing_is_left()


async def test_a_slow_reader_gives_no_credit_and_a_reading_one_gives_all_back(
    tmp_path: Path,
) -> None:
    size = WINDOW // 4
    async with scene(tmp_path) as it:
        stream = it.gateway.pool.runner.stream(request(SOURCE))
        first = asyncio.create_task(anext(stream))
        execute = await it.worker.next(Execute)
        for _ in range(4):
            await it.worker.send(Chunk(execute.id, b" " * size))
        await first
        assert not any(isinstance(message, Credit) for message in it.worker.received)
        await anext(stream)  # asking for the second says that the first is used
        assert (await it.worker.next(Credit)).bytes == size
        for _ in range(2):
            await anext(stream)
            assert (await it.worker.next(Credit)).bytes == size
        await stream.aclose()
        assert (await it.worker.next(Cancel)).id == execute.id


async def test_closing_a_stream_cancels_its_execution(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        execute = await it.left_stream()
        assert (await it.worker.next(Cancel)).id == execute.id
        await it.worker.answer(execute)
        await until(it.gateway.nothing_is_left)


async def test_a_stream_that_has_told_something_is_not_repeated(tmp_path: Path) -> None:
    async with scene(tmp_path, 2) as it:
        stream = it.gateway.pool.runner.stream(request(SOURCE, idempotent=True))
        first = asyncio.create_task(anext(stream))
        worker, execute = await it.who_got_it()
        await worker.send(Chunk(execute.id, b"1"))
        await first
        worker.drop()
        with pytest.raises(AnyPodError, match="worker-lost"):
            await anext(stream)


async def test_a_stream_that_has_told_nothing_is_repeated_if_idempotent(tmp_path: Path) -> None:
    async with scene(tmp_path, 2) as it:
        task = asyncio.create_task(events_of(it, idempotent=True))
        first, _ = await it.who_got_it()
        first.drop()
        second, again = await it.who_got_it()
        await second.send(Chunk(again.id, b"1"), Result(again.id, 0.1))
        events = await task
        assert [event.data for event in events[:-1]] == [b"1"]
        assert events[-1].info.attempt == 2


async def test_a_worker_that_sends_more_than_the_window_loses_its_link(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        stream = it.gateway.pool.runner.stream(request(SOURCE))
        first = asyncio.create_task(anext(stream))
        execute = await it.worker.next(Execute)
        await it.worker.send(*(Chunk(execute.id, b" " * (WINDOW // 2)) for _ in range(3)))
        await it.worker.until(lambda: it.worker.close_codes)
        assert it.worker.close_codes == [CLOSE_PROTOCOL]
        await first
        await stream.aclose()
