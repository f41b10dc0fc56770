"""Answers are kept for a bounded time and in a bounded number, and outlive whoever gave them."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from anypod_gateway.callers import remembered
from anypod_gateway.callers.remembered import NoAnswer, Remembered


class Asked:
    """Somebody who answers what a test wants."""

    def __init__(self) -> None:
        self.answer: str | Exception | None = "yes"
        self.count = 0
        self.may = asyncio.Event()
        self.may.set()

    async def __call__(self) -> str | None:
        self.count += 1
        await self.may.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Clock:
    def __init__(self) -> None:
        self.now = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(remembered, "_now", lambda: clock.now)
    return clock


@pytest.fixture
async def kept() -> AsyncIterator[Remembered[str, str | None]]:
    made: Remembered[str, str | None] = Remembered(3)
    yield made
    await made.close()


@pytest.fixture
def asked() -> Asked:
    return Asked()


Kept = Remembered[str, str | None]


async def test_a_fresh_answer_is_not_asked_for_again(
    kept: Kept, asked: Asked, clock: Clock
) -> None:
    for _ in range(5):
        assert await kept.get("k", asked) == "yes"
    clock.now = remembered.FRESH_SECONDS - 1
    assert await kept.get("k", asked) == "yes"
    assert asked.count == 1
    clock.now = remembered.FRESH_SECONDS
    assert await kept.get("k", asked) == "yes"
    assert asked.count == 2


async def test_a_no_is_kept_for_a_moment_and_ends_a_yes(
    kept: Kept, asked: Asked, clock: Clock
) -> None:
    await kept.get("k", asked)
    clock.now, asked.answer = remembered.FRESH_SECONDS, None
    assert await kept.get("k", asked) is None
    assert not kept.knows("k")
    assert await kept.get("k", asked) is None
    assert asked.count == 2
    clock.now += remembered.NO_SECONDS
    asked.answer = "yes"
    assert await kept.get("k", asked) == "yes"


async def test_an_old_yes_does_while_nobody_can_confirm_it_but_not_for_ever(
    kept: Kept, asked: Asked, clock: Clock
) -> None:
    await kept.get("k", asked)
    asked.answer = NoAnswer("away")
    clock.now = remembered.LONGEST_SECONDS - 1
    assert await kept.get("k", asked) == "yes"
    assert kept.knows("k")
    clock.now = remembered.LONGEST_SECONDS
    assert not kept.knows("k")
    with pytest.raises(NoAnswer):
        await kept.get("k", asked)
    with pytest.raises(NoAnswer):
        await kept.get("unknown", asked)


async def test_who_is_slow_to_confirm_is_not_waited_for_long(
    kept: Kept, asked: Asked, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(remembered, "PATIENCE_SECONDS", 0.0)
    await kept.get("k", asked)
    clock.now = remembered.FRESH_SECONDS
    asked.may.clear()
    asked.answer = None
    for _ in range(3):
        assert await kept.get("k", asked) == "yes"
    assert asked.count <= 2
    asked.may.set()
    async with asyncio.timeout(10):
        while kept.knows("k"):
            await asyncio.sleep(0)
    assert await kept.get("k", asked) is None


async def test_many_who_ask_at_once_are_one_question_that_none_of_them_can_cancel(
    kept: Kept, asked: Asked, clock: Clock
) -> None:
    asked.may.clear()
    waiting = [asyncio.create_task(kept.get("k", asked)) for _ in range(10)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    asked.may.set()
    assert await asyncio.gather(*waiting[1:]) == ["yes"] * 9
    assert asked.count == 1


async def test_a_flood_of_made_up_ones_drives_no_good_one_out(
    kept: Kept, asked: Asked, clock: Clock
) -> None:
    await kept.get("good", asked)
    asked.answer = None
    for number in range(50):
        assert await kept.get(f"made up {number}", asked) is None
    assert len(kept) == 1 + 3
    assert await kept.get("good", asked) == "yes"


async def test_the_one_not_used_for_longest_goes_first(
    kept: Kept, asked: Asked, clock: Clock
) -> None:
    for key in ("a", "b", "c", "a", "d"):
        await kept.get(key, asked)
    assert kept.knows("a")
    assert not kept.knows("b")


async def test_closing_ends_who_waits(asked: Asked, clock: Clock) -> None:
    kept: Kept = Remembered(3)
    asked.may.clear()
    waiting = asyncio.create_task(kept.get("k", asked))
    await asyncio.sleep(0)
    await kept.close()
    with pytest.raises(NoAnswer, match="stopping"):
        await waiting
