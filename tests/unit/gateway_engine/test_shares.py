"""Batches together take no more than the pool runs at once and a little, each in its turn."""

import asyncio

import pytest

from anypod_gateway.shares import SPARE, Share


class Crowd:
    """Tasks that hold their part of a share until they are let go."""

    def __init__(self, capacity: int, concurrency: int = 1) -> None:
        self.capacity = capacity
        self.concurrency = concurrency
        self.share = Share(lambda concurrency: self.capacity * concurrency)
        self.inside: list[int] = []
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._leave: dict[int, asyncio.Event] = {}

    async def enter(self, *numbers: int) -> None:
        for number in numbers:
            self._leave[number] = asyncio.Event()
            self._tasks[number] = asyncio.ensure_future(self._hold(number))
            await settled()

    async def _hold(self, number: int) -> None:
        async with self.share.place(self.concurrency):
            self.inside.append(number)
            await self._leave[number].wait()
            self.inside.remove(number)

    async def leave(self, number: int) -> None:
        self._leave[number].set()
        await settled()

    async def cancel(self, number: int) -> None:
        self._tasks[number].cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._tasks[number]
        await settled()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_only_so_many_are_under_way_and_the_next_is_who_came_first() -> None:
    crowd = Crowd(1)
    await crowd.enter(1, 2, 3, 4, 5)
    assert crowd.inside == [1, 2, 3][: 1 + SPARE]
    await crowd.leave(2)
    assert crowd.inside == [1, 3, 4]


async def test_items_that_share_an_executor_take_a_part_of_it() -> None:
    crowd = Crowd(1, concurrency=4)
    assert crowd.share.items(4) == 4 + SPARE
    await crowd.enter(*range(crowd.share.items(4) + 1))
    assert crowd.inside == list(range(crowd.share.items(4)))


async def test_beside_others_they_have_what_of_an_executor_is_left() -> None:
    crowd = Crowd(2)
    crowd.concurrency = 1
    await crowd.enter(1, 2)
    crowd.concurrency = 4
    await crowd.enter(3, 4, 5)
    assert crowd.inside == [1, 2, 3, 4]  # no executor is free: SPARE of theirs may wait for one
    await crowd.leave(1)
    assert crowd.inside == [2, 3, 4, 5]


async def test_one_that_waits_no_more_is_passed_over() -> None:
    crowd = Crowd(1 - SPARE)
    await crowd.enter(1, 2, 3)
    await crowd.cancel(2)
    await crowd.leave(1)
    assert crowd.inside == [3]


async def test_who_is_cancelled_just_when_its_turn_comes_gives_it_on() -> None:
    crowd = Crowd(1 - SPARE)
    await crowd.enter(1, 2, 3)
    crowd._leave[1].set()
    while crowd.inside:
        await asyncio.sleep(0)
    await crowd.cancel(2)
    assert crowd.inside == [3]


async def test_a_pool_that_grows_lets_more_in() -> None:
    crowd = Crowd(1 - SPARE)
    await crowd.enter(1, 2, 3, 4)
    crowd.capacity = 3 - SPARE
    await crowd.leave(1)
    assert crowd.inside == [2, 3, 4]


async def test_nobody_is_let_in_before_one_that_was_refused() -> None:
    crowd = Crowd(2 - SPARE)
    await crowd.enter(1, 2)
    with crowd.share.refused():
        await crowd.enter(3, 4)
        await crowd.leave(1)
        assert crowd.inside == [2]
    await settled()
    assert crowd.inside == [2, 3]
