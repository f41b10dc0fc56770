"""Executions on real workers: answers, queues, callers that leave, workers that come and go."""

import asyncio
import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.support.engine import Gateway, gateway, request, site, until
from tests.support.worker import code_of, revision_of

from anypod.api.problems import AnyPodError

DOUBLE = "def main(x: int) -> int:\n    return 2 * x\n"
SLEEP = "import time\ndef main(seconds: float = 60.0) -> None:\n    time.sleep(seconds)\n"
NOT_PROBED = "does not pass its readiness probe yet"
COUNT = "def main(n: int):\n    for i in range(n):\n        yield 'x' * 10_000\n"


async def failure_of(work: Any) -> AnyPodError:
    with pytest.raises(AnyPodError) as caught:
        await asyncio.wait_for(work, 60)
    return caught.value


async def mark(path: Path) -> None:
    await until(path.exists)


def marking(directory: Path, *, seconds: float = 60.0) -> str:
    """A program that shows that it has begun, and appends a line when it has ended."""
    return (
        "import pathlib, time\n"
        "def main(n: int):\n"
        f"    pathlib.Path({str(directory)!r}, f'begun-{{n}}').touch()\n"
        f"    time.sleep({seconds})\n"
        f"    pathlib.Path({str(directory)!r}, f'ended-{{n}}').touch()\n"
    )


async def test_many_calls_are_spread_and_all_answered(tmp_path: Path) -> None:
    async with site(tmp_path) as place, gateway(place) as front:
        await place.start("w1", "w2")
        await front.sees("w1", "w2")
        answers = await asyncio.gather(*(front.run(DOUBLE, {"x": n}) for n in range(200)))
        assert [json.loads(answer.outputs) for answer in answers] == [2 * n for n in range(200)]
        used = Counter(answer.info.worker for answer in answers)
        assert set(used) == {"w1", "w2"}  # how many each, is a matter of who is quick
        await until(front.nothing_is_left)


async def test_a_check_tells_of_a_valid_and_of_an_invalid_program(tmp_path: Path) -> None:
    async with site(tmp_path) as place, gateway(place) as front:
        await place.start("w1")
        await front.sees("w1")
        deadline = asyncio.get_running_loop().time() + 30
        good, bad = code_of(DOUBLE), code_of("def main(:\n")
        checked = await front.pool.runner.check(revision_of(good), good, deadline)
        assert checked.failure is None
        assert checked.inputs_schema is not None
        checked = await front.pool.runner.check(revision_of(bad), bad, deadline)
        assert checked.failure is not None
        assert (checked.failure.type, checked.failure.line) == ("invalid-program", 1)
        await until(front.nothing_is_left)


async def test_calls_before_the_first_worker_is_there_wait_for_it(tmp_path: Path) -> None:
    async with site(tmp_path) as place, gateway(place) as front:
        calls = [asyncio.create_task(front.outputs(DOUBLE, {"x": n})) for n in range(20)]
        await until(lambda: front.pool.queued() == 20)
        await place.start("w1", publish=False)
        await place.publish("w1", ready=False)
        await until(lambda: [w.message for w in front.pool.workers()] == [NOT_PROBED])
        assert front.pool.queued() == 20  # it is linked, but not said to be ready
        await place.publish("w1", ready=True)
        assert await asyncio.gather(*calls) == [2 * n for n in range(20)]


async def test_a_pool_without_workers_says_so_after_the_longest_wait(tmp_path: Path) -> None:
    async with site(tmp_path, queue={"maxWaitSeconds": 0.2}) as place, gateway(place) as front:
        failure = await failure_of(front.run(DOUBLE, {"x": 1}))
        assert failure.type == "no-worker"
        assert "has no workers" in failure.problem.detail
        assert failure.problem.retry_after
        assert failure.problem.program == "program"


async def test_a_flood_beyond_the_queue_is_refused_and_normal_at_once_afterwards(
    tmp_path: Path,
) -> None:
    spec = {"executors": 1, "queue": {"depth": 5, "maxWaitSeconds": 30}}
    async with site(tmp_path, **spec) as place, gateway(place) as front:
        await place.start("w1")
        await front.sees("w1")
        flood = [asyncio.create_task(front.run(SLEEP, {"seconds": 0.3})) for _ in range(30)]
        await asyncio.wait(flood)
        failures = [task.exception() for task in flood if task.exception() is not None]
        assert len(failures) == 30 - 1 - 5
        for failure in failures:
            assert isinstance(failure, AnyPodError)
            assert failure.type == "queue-full"
            assert 1 <= (failure.problem.retry_after or 0) <= 60
        assert await front.outputs(DOUBLE, {"x": 1}) == 2
        assert front.nothing_is_left()


async def test_clients_that_give_up_waiting_cost_nothing(tmp_path: Path) -> None:
    async with site(tmp_path, executors=1) as place, gateway(place) as front:
        await place.start("w1")
        await front.sees("w1")
        program = marking(tmp_path, seconds=0.5)
        calls = [asyncio.create_task(front.run(program, {"n": n})) for n in range(20)]
        await mark(tmp_path / "begun-0")
        for call in calls[1:]:
            call.cancel()
        await asyncio.wait(calls[1:])
        assert front.pool.queued() == 0
        assert await front.outputs(DOUBLE, {"x": 1}) == 2
        begun = [path.name for path in tmp_path.glob("begun-*")]
        assert begun == ["begun-0"]  # nothing that was abandoned in the queue has run


async def test_callers_that_leave_right_after_dispatch_leave_nothing_behind(
    tmp_path: Path,
) -> None:
    async with site(tmp_path) as place, gateway(place) as front:
        await place.start("w1", "w2")
        await front.sees("w1", "w2")
        await front.run(SLEEP, {"seconds": 0})
        for number in range(100):
            call = asyncio.create_task(front.run(SLEEP, {"seconds": 60}))
            await asyncio.sleep(0.001 * (number % 5))
            call.cancel()
            await asyncio.wait({call})
            assert call.cancelled()
        await until(front.nothing_is_left)
        await until(lambda: sum(worker.busy for worker in front.pool.workers()) == 0)
        assert await front.outputs(DOUBLE, {"x": 4}) == 8


async def test_a_stream_goes_at_its_readers_pace_and_ends_with_it(tmp_path: Path) -> None:
    async with site(tmp_path) as place, gateway(place) as front:
        await place.start("w1")
        await front.sees("w1")
        runner = front.pool.runner
        events = [event async for event in runner.stream(request(COUNT, {"n": 200}))]
        assert len(events) == 201
        endless = runner.stream(request(COUNT, {"n": 10**9}))
        for _ in range(100):
            await anext(endless)
        await endless.aclose()
        await until(front.nothing_is_left)
        assert await front.outputs(DOUBLE, {"x": 4}) == 8


async def test_a_deadline_ends_an_execution_that_does_not(tmp_path: Path) -> None:
    limits = {"memory": "512Mi", "interruptGraceSeconds": 0.1}
    async with site(tmp_path, limits=limits) as place, gateway(place) as front:
        await place.start("w1")
        await front.sees("w1")
        failure = await failure_of(front.run(SLEEP, seconds=0.3))
        assert failure.status == 504
        assert failure.problem.worker == "w1"
        await until(front.nothing_is_left)


async def test_a_draining_worker_finishes_what_runs_and_gets_nothing_new(tmp_path: Path) -> None:
    async with site(tmp_path, executors=1) as place, gateway(place) as front:
        first, _ = await place.start("w1", "w2")
        await front.sees("w1", "w2")
        program = marking(tmp_path, seconds=1.0)
        calls = [asyncio.create_task(front.run(program, {"n": n})) for n in range(2)]
        for number in range(2):
            await mark(tmp_path / f"begun-{number}")
        first.process.send_signal(signal.SIGTERM)
        await front.sees("w2")
        later = await asyncio.gather(*(front.run(DOUBLE, {"x": n}) for n in range(5)))
        assert {answer.info.worker for answer in later} == {"w2"}
        answers = await asyncio.gather(*calls)
        assert {answer.info.worker for answer in answers} == {"w1", "w2"}
        assert await first.process.wait() == 0


# lost workers


async def many_in_flight(front: Gateway, directory: Path, count: int, **how: Any) -> Any:
    program = marking(directory, seconds=2.0)
    calls = [asyncio.create_task(front.run(program, {"n": n}, **how)) for n in range(count)]
    for number in range(count):
        await mark(directory / f"begun-{number}")
    return calls


async def test_killing_a_worker_fails_exactly_what_was_in_flight_there(tmp_path: Path) -> None:
    async with site(tmp_path, executors=3) as place, gateway(place) as front:
        await place.start("w1", "w2")
        await front.sees("w1", "w2")
        calls = await many_in_flight(front, tmp_path, 6)
        waiting = [asyncio.create_task(front.outputs(DOUBLE, {"x": n})) for n in range(10)]
        await until(lambda: front.pool.queued() == 10)
        await place.kill("w1")
        await asyncio.wait(calls)
        failures = [call.exception() for call in calls if call.exception() is not None]
        assert [failure.problem.worker for failure in failures] == ["w1"] * 3
        assert {failure.type for failure in failures} == {"worker-lost"}
        assert await asyncio.gather(*waiting) == [2 * n for n in range(10)]
        await place.forget("w1")
        await front.sees("w2")
        assert front.nothing_is_left()


async def test_killing_a_worker_is_not_noticed_by_callers_of_idempotent_programs(
    tmp_path: Path,
) -> None:
    async with site(tmp_path, executors=3) as place, gateway(place) as front:
        await place.start("w1", "w2")
        await front.sees("w1", "w2")
        calls = await many_in_flight(front, tmp_path, 6, idempotent=True)
        await place.kill("w1")
        answers = await asyncio.gather(*calls)
        attempts = Counter((answer.info.worker, answer.info.attempt) for answer in answers)
        assert attempts == {("w2", 1): 3, ("w2", 2): 3}
        assert front.heard.retried["worker-lost"] == 3


async def test_a_worker_that_comes_back_under_its_name_is_used_again(tmp_path: Path) -> None:
    async with site(tmp_path) as place, gateway(place) as front:
        for _ in range(3):
            await place.start("w1")
            await front.sees("w1")
            assert await front.outputs(DOUBLE, {"x": 1}) == 2
            await place.kill("w1")
            await front.sees()


async def test_a_frozen_worker_is_noticed_and_its_executions_are_told(tmp_path: Path) -> None:
    async with site(tmp_path, executors=1) as place, gateway(place) as front:
        first, _ = await place.start("w1", "w2")
        await front.sees("w1", "w2")
        calls = await many_in_flight(front, tmp_path, 2, idempotent=True)
        first.process.send_signal(signal.SIGSTOP)
        await front.sees("w2")
        answers = await asyncio.gather(*calls)
        assert {answer.info.worker for answer in answers} == {"w2"}
        first.process.send_signal(signal.SIGCONT)
        await front.sees("w1", "w2")
        await until(front.nothing_is_left)
