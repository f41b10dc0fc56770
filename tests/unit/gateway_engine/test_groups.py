"""Calls that share an executor take one from a worker, however many they are."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from tests.support.engine import Gateway, gateway, site, until
from tests.support.scripted_worker import ScriptedWorker, load, scripted_worker

from anypod.resources import WorkerPoolSpec
from anypod.wire.messages import AHEAD_PER_EXECUTOR, Cancel, Execute, Failure, Result
from anypod_gateway.executions import ExecutionAnswer
from anypod_gateway.groups import Groups, Share, allowed
from anypod_gateway.placement import most_places
from anypod_gateway.shares import SPARE

SOURCE = "async def main(): ..."


@dataclass(frozen=True)
class Candidate:
    name: str
    executors: int = 2
    in_flight: int = 0
    ahead: int = 0
    others: int = 0
    is_full: bool = False
    max_sessions: int = 8
    there: int = 0


def chosen(workers: list[Candidate], start: int = 0, avoid: tuple[str, ...] = ()) -> str | None:
    found = most_places(workers, lambda worker: worker.there, 10, start, avoid)
    return found.name if found is not None else None


def test_the_worker_with_most_places_is_chosen() -> None:
    workers = [Candidate("a", there=9, in_flight=1), Candidate("b"), Candidate("c", others=1)]
    assert {chosen(workers, start) for start in range(6)} == {"b"}


def test_places_in_executors_that_are_taken_count_where_none_is_free() -> None:
    taken = Candidate("a", in_flight=2, there=3)
    assert chosen([taken, Candidate("b", in_flight=2)]) == "a"
    assert chosen([Candidate("b", in_flight=2)]) is None
    assert chosen([Candidate("a", is_full=True, in_flight=1, there=1)]) == "a"
    assert chosen([Candidate("a", is_full=True, in_flight=1)]) is None
    assert chosen([Candidate("a"), Candidate("b", in_flight=1)], avoid=("a",)) == "b"
    assert chosen([Candidate("a")], avoid=("a",)) == "a"


@given(
    st.lists(st.tuples(st.sampled_from("pq"), st.integers(0, 30), st.booleans()), max_size=120),
    st.integers(1, 4),
)
def test_executors_are_counted_as_groups_are(steps: list[tuple[str, int, bool]], room: int) -> None:
    """Enter where the first number is even, else leave; sometimes the worker closes a group."""
    groups, executors = Groups(), 0
    inside: list[Share] = []
    for revision, number, closes in steps:
        if number % 2 == 0:
            share = Share(revision, room)
            expected = groups.free(revision) == 0
            assert groups.enter(share, room) is expected
            executors += expected
            inside.append(share)
            if closes:
                share.close()
        elif inside:
            executors -= groups.leave(inside.pop(number % len(inside)))
        sizes = Counter(share.group.name for share in inside if share.group is not None)
        assert executors == len(sizes)
        assert max(sizes.values(), default=0) <= room
        for each in "pq":
            open_ = {
                share.group.name
                for share in inside
                if share.revision == each and share.group is not None and not share.group.is_closed
            }
            assert groups.free(each) == sum(room - sizes[name] for name in open_)


class Scene:
    """One worker that the test plays, and the gateway that calls it."""

    def __init__(self, worker: ScriptedWorker, front: Gateway) -> None:
        self.worker = worker
        self.front = front

    def call(self, concurrency: int = 1) -> "asyncio.Task[ExecutionAnswer]":
        source = SOURCE if concurrency > 1 else "def main(): ..."
        return asyncio.create_task(self.front.run(source, concurrency=concurrency))

    async def come(self, count: int = 1) -> list[Execute]:
        """So many calls, which have come to the worker."""
        return [await self.worker.next(Execute) for _ in range(count)]

    async def answer(self, *executes: Execute) -> None:
        for execute in executes:
            await self.worker.answer(execute)

    async def queued(self, count: int) -> None:
        await until(lambda: self.front.pool.queued() == count)


@asynccontextmanager
async def scene(
    directory: Path, *, executors: int = 1, groups: bool = True
) -> AsyncIterator[Scene]:
    async with (
        site(directory) as place,
        scripted_worker("w1", executors=executors, groups=groups) as worker,
    ):
        await place.add(worker)
        async with gateway(place) as front:
            await front.sees("w1")
            yield Scene(worker, front)


async def test_groups_are_filled_before_another_executor_is_taken(tmp_path: Path) -> None:
    async with scene(tmp_path, executors=3) as it:
        calls = [it.call(concurrency=3) for _ in range(5)]
        came = await it.come(5)
        sizes = Counter(execute.group for execute in came)
        assert sorted(sizes.values()) == [2, 3]
        assert "" not in sizes
        assert it.front.pool.in_flight() == 2
        calls.append(it.call())
        ordinary = await it.come()
        assert ordinary[0].group == ""
        assert it.front.pool.in_flight() == 3
        calls.append(it.call())
        await it.queued(1)
        await it.answer(*came)
        await it.answer(*ordinary, *await it.come())
        await asyncio.gather(*calls)
        assert it.front.nothing_is_left()


async def test_who_waits_first_is_first_however_many_places_there_are(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        calls = [it.call(concurrency=9)]
        first = await it.come()
        calls.append(it.call())
        await it.queued(1)
        calls.append(it.call(concurrency=9))
        await it.queued(2)
        await it.answer(*first)
        following = await it.come()
        assert following[0].group == ""
        await it.answer(*following)
        await it.answer(*await it.come())
        await asyncio.gather(*calls)
        assert it.front.nothing_is_left()


async def test_a_group_that_the_worker_refuses_gets_no_more(tmp_path: Path) -> None:
    async with scene(tmp_path, executors=2) as it:
        calls = [it.call(concurrency=9)]
        (first,) = await it.come()
        calls.append(it.call(concurrency=9))
        (refused,) = await it.come()
        assert refused.group == first.group
        await it.worker.refuse(refused, "full")
        (again,) = await it.come()
        assert (again.id, again.group == first.group) == (refused.id, False)
        await it.answer(first, again)
        await asyncio.gather(*calls)
        assert it.front.nothing_is_left()


async def test_a_worker_that_knows_no_groups_is_counted_by_executors(tmp_path: Path) -> None:
    async with scene(tmp_path, executors=2, groups=False) as it:
        calls = [it.call(concurrency=9) for _ in range(3)]
        came = await it.come(2)
        await it.queued(1)
        await it.answer(came[0])
        await it.answer(came[1], *await it.come())
        await asyncio.gather(*calls)
        assert it.front.nothing_is_left()


async def test_a_batch_gets_the_places_there_are_however_quick_the_worker_is(
    tmp_path: Path,
) -> None:
    """What a quick worker is sent ahead is for executions that run alone."""
    async with scene(tmp_path, executors=4) as it:
        for _ in range(150):
            call = it.call()
            await it.answer(*await it.come())
            await call
        share = it.front.pool.share
        assert share.items() == 4 * (1 + AHEAD_PER_EXECUTOR) + SPARE
        assert share.items(50) == 4 * 50 + SPARE


async def test_callers_that_leave_leave_their_places(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        calls = [it.call(concurrency=2) for _ in range(4)]
        came = await it.come(2)
        await it.queued(2)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert {(await it.worker.next(Cancel)).id for _ in came} == {one.id for one in came}
        assert it.front.pool.in_flight() == 1
        gone = Failure("deadline-exceeded", "cancelled")
        await it.worker.send(*(Result(one.id, 0.0, failure=gone) for one in came), load())
        await until(it.front.nothing_is_left)


async def test_a_broken_link_frees_all_places(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        calls = [it.call(concurrency=9) for _ in range(3)]
        await it.come(3)
        it.worker.drop()
        failures = await asyncio.gather(*calls, return_exceptions=True)
        assert {getattr(failure, "type", None) for failure in failures} == {"worker-lost"}
        assert it.front.nothing_is_left()


def test_a_program_gets_no_more_than_its_pool_allows() -> None:
    spec = WorkerPoolSpec(concurrency=20)
    assert [allowed(asked, spec) for asked in (1, 7, 50)] == [1, 7, 20]
    assert allowed(50, WorkerPoolSpec(isolation="fresh")) == 1
    assert allowed(50, WorkerPoolSpec(isolation="program")) == 50
