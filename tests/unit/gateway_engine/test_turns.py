"""Calls of one session go one after another, in the order in which they came."""

import asyncio

import pytest

from anypod.api.problems import AnyPodError, problem
from anypod_gateway import turns
from anypod_gateway.turns import TooMany, Turns


def later() -> float:
    return asyncio.get_running_loop().time() + 30


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_the_lowest_order_goes_next_and_keys_do_not_wait_for_each_other() -> None:
    queue = Turns()
    await queue.enter("a", 0, later())
    await queue.enter("b", 1, later())
    gone: list[int] = []

    async def call(order: int) -> None:
        await queue.enter("a", order, later())
        gone.append(order)
        await turn()
        queue.leave("a")

    calls = [asyncio.create_task(call(order)) for order in (5, 3, 4)]
    await turn()
    queue.leave("a")
    await asyncio.gather(*calls)
    assert gone == [3, 4, 5]
    await queue.enter("a", 6, later())


async def test_a_call_that_leaves_while_it_gets_the_turn_passes_it_on() -> None:
    queue = Turns()
    await queue.enter("a", 0, later())
    leaving = asyncio.create_task(queue.enter("a", 1, later()))
    staying = asyncio.create_task(queue.enter("a", 2, later()))
    await turn()
    queue.leave("a")
    leaving.cancel()
    await asyncio.wait({leaving})
    await asyncio.wait_for(staying, 10)


async def test_a_call_that_leaves_while_it_waits_is_forgotten() -> None:
    queue = Turns()
    await queue.enter("a", 0, later())
    leaving = asyncio.create_task(queue.enter("a", 1, later()))
    await turn()
    leaving.cancel()
    await asyncio.wait({leaving})
    queue.leave("a")
    await asyncio.wait_for(queue.enter("a", 2, later()), 10)


async def test_waiting_ends_at_the_deadline() -> None:
    queue = Turns()
    await queue.enter("a", 0, later())
    with pytest.raises(TimeoutError):
        await queue.enter("a", 1, asyncio.get_running_loop().time() + 0.02)


async def test_waiting_calls_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "WAITING", 1)
    queue = Turns()
    await queue.enter("a", 0, later())
    waiting = asyncio.create_task(queue.enter("a", 1, later()))
    await turn()
    with pytest.raises(TooMany):
        await queue.enter("a", 2, later())
    queue.leave("a")
    await waiting


async def test_failing_a_key_fails_all_that_wait_and_nobody_else() -> None:
    queue = Turns()
    await queue.enter("a", 0, later())
    waiting = [asyncio.create_task(queue.enter("a", order, later())) for order in (1, 2)]
    await turn()
    queue.fail("a", problem("session-lost", "gone"))
    for call in waiting:
        with pytest.raises(AnyPodError, match="gone"):
            await call
    queue.leave("a")
    await asyncio.wait_for(queue.enter("a", 3, later()), 10)
