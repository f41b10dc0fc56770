"""The agenda: each key once, one look at a time, later after failures."""

import asyncio
from collections import Counter, defaultdict

import pytest

from anypod_operator.agenda import (
    AT_ONCE,
    FIRST_RETRY,
    LONG_PAUSE,
    LONGEST_RETRY,
    MANY,
    PAUSE,
    Agenda,
    _backoff,
)

PATIENCE = 30.0


class Looks:
    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self.at_once: Counter[str] = Counter()
        self.most_of_one = self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.fail: dict[str, int] = defaultdict(int)
        self.again: dict[str, float] = {}
        self.news = asyncio.Condition()

    async def look(self, key: str) -> float | None:
        self.at_once[key] += 1
        self.most_of_one = max(self.most_of_one, self.at_once[key])
        self.most = max(self.most, self.at_once.total())
        await self.gate.wait()
        self.at_once[key] -= 1
        self.count[key] += 1
        async with self.news:
            self.news.notify_all()
        if self.fail[key]:
            self.fail[key] -= 1
            raise RuntimeError(key)
        return self.again.get(key)

    async def until(self, key: str, count: int) -> None:
        async with asyncio.timeout(PATIENCE), self.news:
            await self.news.wait_for(lambda: self.count[key] >= count)


@pytest.fixture
async def looks() -> Looks:
    return Looks()


@pytest.fixture
async def agenda(looks: Looks) -> "asyncio.AsyncGenerator[Agenda[str]]":  # type: ignore[name-defined]
    found: Agenda[str] = Agenda(looks.look)
    task = asyncio.create_task(found.run())
    yield found
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_key_that_is_added_many_times_is_looked_at_once(
    agenda: Agenda[str], looks: Looks
) -> None:
    for _ in range(100):
        agenda.add("a")
    await looks.until("a", 1)
    agenda.add("b")
    await looks.until("b", 1)
    assert looks.count == {"a": 1, "b": 1}


async def test_what_comes_during_a_look_leads_to_another(agenda: Agenda[str], looks: Looks) -> None:
    looks.gate.clear()
    agenda.add("a")
    while not looks.at_once["a"]:
        await asyncio.sleep(0)
    agenda.add("a")
    agenda.add("a")
    looks.gate.set()
    await looks.until("a", 2)
    assert looks.most_of_one == 1


async def test_many_keys_are_looked_at_at_once_but_not_all(
    agenda: Agenda[str], looks: Looks
) -> None:
    looks.gate.clear()
    for number in range(5 * AT_ONCE):
        agenda.add(str(number))
    while looks.at_once.total() < AT_ONCE:
        await asyncio.sleep(0)
    looks.gate.set()
    for number in range(5 * AT_ONCE):
        await looks.until(str(number), 1)
    assert looks.most == AT_ONCE


async def test_a_failed_look_is_repeated(agenda: Agenda[str], looks: Looks) -> None:
    looks.fail["a"] = 2
    agenda.add("a")
    await looks.until("a", 3)


async def test_a_look_may_ask_for_another(agenda: Agenda[str], looks: Looks) -> None:
    looks.again["a"] = 0.01
    agenda.add("a")
    await looks.until("a", 3)


async def test_a_key_that_waits_for_its_retry_does_not_hold_up_others(
    agenda: Agenda[str], looks: Looks
) -> None:
    looks.fail["a"] = 1000
    agenda.add("a")
    await looks.until("a", 2)
    agenda.add("b")
    await looks.until("b", 1)


async def test_a_slow_look_that_is_to_be_repeated_does_not_hold_up_others(
    agenda: Agenda[str], looks: Looks
) -> None:
    looks.gate.clear()
    agenda.add("slow")
    while not looks.at_once["slow"]:
        await asyncio.sleep(0)
    agenda.add("slow")
    agenda.add("other", after=PAUSE)
    async with asyncio.timeout(PATIENCE):
        while not looks.at_once["other"]:
            await asyncio.sleep(0.01)
    looks.gate.set()
    await looks.until("slow", 2)


async def test_what_is_due_and_not_looked_at_is_overdue() -> None:
    agenda: Agenda[str] = Agenda(Looks().look)
    assert (agenda.waiting(), agenda.overdue()) == (0, 0.0)
    agenda.add("a")
    agenda.add("later", 1000)
    await asyncio.sleep(0.01)
    assert agenda.waiting() == 1
    assert agenda.overdue() > 0


async def test_keys_that_are_not_looked_at_any_more_are_forgotten(
    agenda: Agenda[str], looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anypod_operator.agenda._MINUTE", 0.05)
    for number in range(20):
        agenda.add(f"deleted {number}")
    await looks.until("deleted 19", 1)
    await asyncio.sleep(0.06)
    agenda.add("there")
    await looks.until("there", 1)
    agenda.add("there", after=1000)
    assert len(agenda._recent) == 1


async def test_a_key_that_never_rests_is_looked_at_now_and_then(
    agenda: Agenda[str], looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anypod_operator.agenda.LONG_PAUSE", 1000.0)
    looks.again["a"] = 0.0
    agenda.add("a")
    await looks.until("a", MANY)
    agenda.add("b")
    await looks.until("b", 1)
    assert looks.count["a"] == MANY


def test_retries_come_later_and_later_and_not_all_together() -> None:
    assert all(0.75 * FIRST_RETRY <= _backoff(1) <= FIRST_RETRY for _ in range(100))
    assert len({_backoff(5) for _ in range(10)}) > 1
    assert all(_backoff(n) <= LONGEST_RETRY for n in range(1, 2000))
    assert _backoff(1000) >= 0.75 * LONGEST_RETRY


def test_in_the_long_run_no_key_is_looked_at_more_than_so_often_a_minute() -> None:
    assert LONG_PAUSE >= 60.0 / MANY
