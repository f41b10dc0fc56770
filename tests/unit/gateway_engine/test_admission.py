"""Who waits for a worker, in which order, for how long, and what is left when one leaves."""

import asyncio
from collections.abc import Collection

import pytest

from anypod.api.problems import AnyPodError, problem
from anypod.resources.workerpool import Queue
from anypod_gateway.admission import Admission, Line
from anypod_gateway.groups import Share
from anypod_gateway.workers import Worker


class Bench:
    """A line over workers that are free when the test says so."""

    def __init__(self, depth: int = 10, max_wait_seconds: float = 30.0) -> None:
        self.free: list[Worker] = []
        self.returned: list[Worker] = []
        self.shares: list[Share | None] = []
        self.avoided: list[Collection[str]] = []
        self.limits = Queue(depth=depth, max_wait_seconds=max_wait_seconds)
        self.admission = Admission(lambda: self.limits)
        self.line = Line(
            self.admission, self.pick, self.take_back, lambda: "the workers are asleep"
        )

    def pick(self, avoid: Collection[str], share: Share | None, kind: str) -> Worker | None:
        self.avoided.append(avoid)
        self.shares.append(share)
        return self.free.pop(0) if self.free else None

    def take_back(self, worker: Worker, share: Share | None) -> None:
        self.returned.append(worker)
        self.shares.append(share)

    def come(self, *, again: bool = False, seconds: float = 60.0) -> "asyncio.Task[Worker]":
        now = asyncio.get_running_loop().time()
        return asyncio.create_task(self.line.wait(now, now + seconds, again=again))

    def give(self) -> Worker:
        worker = object.__new__(Worker)
        self.free.append(worker)
        self.line.serve()
        return worker


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_who_came_first_is_served_first_and_nobody_else_is_woken() -> None:
    bench = Bench()
    callers = [bench.come() for _ in range(3)]
    await turn()
    for caller in callers:
        worker = bench.give()
        await turn()
        assert [c.done() for c in callers] == [c is caller or c.done() for c in callers]
        assert caller.result() is worker
    assert bench.admission.waiting == 0


async def test_a_call_that_a_worker_refused_goes_first_again() -> None:
    bench = Bench()
    first = bench.come()
    await turn()
    refused = bench.come(again=True)
    await turn()
    bench.give()
    await turn()
    assert refused.done()
    assert not first.done()
    bench.give()
    await first


async def test_nobody_overtakes_those_who_wait() -> None:
    bench = Bench()
    waiting = bench.come()
    await turn()
    bench.free.append(object.__new__(Worker))
    assert bench.line.at_once() is None
    bench.line.serve()
    await waiting
    bench.free.append(object.__new__(Worker))
    assert bench.line.at_once() is not None


async def test_a_full_queue_answers_429_at_once_and_says_when_to_come_again() -> None:
    bench = Bench(depth=2)
    callers = [bench.come() for _ in range(2)]
    await turn()
    with pytest.raises(AnyPodError) as caught:
        await bench.come()
    assert caught.value.status == 429
    assert 1 <= (caught.value.problem.retry_after or 0) <= 60
    again = bench.come(again=True)  # it was let in before
    await turn()
    for _ in range(3):
        bench.give()
    await asyncio.gather(*callers, again)


async def test_the_time_to_come_again_follows_the_throughput(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    monkeypatch.setattr(loop, "time", lambda: begun)
    bench = Bench(depth=20)
    callers = [bench.come() for _ in range(20)]
    await turn()
    bench.admission.served += 4
    monkeypatch.setattr(loop, "time", lambda: begun + 2.0)  # 2 per second, 20 wait
    with pytest.raises(AnyPodError) as caught:
        bench.admission.enter("python", again=False)
    assert caught.value.problem.retry_after == 10
    monkeypatch.undo()
    for caller in callers:
        caller.cancel()
    await asyncio.wait(callers)


async def test_abandoned_entries_leave_at_once_and_take_nothing_with_them() -> None:
    bench = Bench(depth=100)
    callers = [bench.come() for _ in range(100)]
    await turn()
    for caller in callers[:-1]:
        caller.cancel()
    await asyncio.wait(callers[:-1])
    assert bench.admission.waiting == 1
    assert len(bench.line) == 1
    worker = bench.give()
    assert await callers[-1] is worker
    assert bench.returned == []


async def test_a_worker_given_to_a_call_that_leaves_at_that_moment_is_given_back() -> None:
    bench = Bench()
    caller = bench.come()
    await turn()
    worker = bench.give()  # resolved, but the caller has not run yet
    caller.cancel()
    await asyncio.wait({caller})
    assert caller.cancelled()
    assert bench.returned == [worker]
    assert bench.admission.waiting == 0


async def test_waiting_in_vain_ends_with_503_that_says_why() -> None:
    bench = Bench(max_wait_seconds=0.05)
    with pytest.raises(AnyPodError, match="the workers are asleep") as caught:
        await bench.come()
    assert caught.value.type == "no-worker"
    assert caught.value.problem.retry_after
    assert bench.admission.waiting == 0


async def test_a_deadline_that_comes_first_ends_the_wait_with_504() -> None:
    bench = Bench()
    with pytest.raises(AnyPodError) as caught:
        await bench.come(seconds=0.05)
    assert caught.value.type == "deadline-exceeded"


async def test_closing_tells_everybody_who_waits_and_lets_nobody_in() -> None:
    bench = Bench()
    callers = [bench.come() for _ in range(2)]
    await turn()
    reason = problem("pool-not-found", "it was deleted")
    bench.admission.closed = reason
    bench.line.close(reason)
    for caller in [*callers, bench.come()]:
        with pytest.raises(AnyPodError, match="it was deleted"):
            await caller
