"""No record stays of a keyed run that nobody is at: its key would answer no more."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.engine import gateway, site

from anypod.api.problems import AnyPodError, error
from anypod.store.checks import Write
from anypod.store.keys import PoolKeys
from anypod.store.kv import KeyValue, Put, StoreUnavailable
from anypod.store.observed import ObservedStore
from anypod.store.once import Answer, Run
from anypod.store.open import open_store
from anypod_gateway.errands import Errands
from anypod_gateway.once import Keyed, Once

KEYS = PoolKeys("once", "default")
DIGEST = "ab" * 32


class Wavering(ObservedStore):
    """Writes a run's record, and then waits, or says that it does not know."""

    def __init__(self, store: KeyValue) -> None:
        super().__init__(store, lambda *_: None)
        self.written = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.fails = False

    async def commit(self, writes: Sequence[Write], *, when: Sequence[tuple[str, int]] = ()) -> int:
        version = await super().commit(writes, when=when)
        if any(isinstance(write, Put) and write.key == KEYS.once(DIGEST) for write in writes):
            self.written.set()
            await self.goes_on.wait()
            if self.fails:
                self.fails = False
                raise StoreUnavailable("its answer was lost")
        return version


@pytest.fixture
async def wavering(store: str) -> AsyncIterator[Wavering]:
    opened = await asyncio.to_thread(open_store, store)
    yield Wavering(opened)
    await opened.close()


@pytest.fixture
async def once(wavering: Wavering) -> AsyncIterator[Once]:
    errands = Errands()
    made = Once(wavering, KEYS, errands, lambda: 60.0)
    yield made
    await errands.close(10)
    await made.close()


def call(execution: str) -> Keyed:
    deadline = asyncio.get_running_loop().time() + 30
    return Keyed(DIGEST, "fingerprint", execution, idempotent=False, deadline=deadline)


async def performed() -> Answer:
    return Answer(200, body="{}")


async def test_a_caller_that_leaves_while_its_record_is_written(
    once: Once, wavering: Wavering
) -> None:
    leaving = asyncio.ensure_future(once.run(call("x-1"), performed))
    await asyncio.wait_for(wavering.written.wait(), 60)
    leaving.cancel()
    wavering.goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await once.run(call("x-2"), performed) == (Answer(200, body="{}"), False)


async def test_a_store_that_does_not_say_whether_the_record_is_written(
    once: Once, wavering: Wavering
) -> None:
    wavering.fails = True
    wavering.goes_on.set()
    with pytest.raises(StoreUnavailable):
        await once.run(call("x-1"), performed)
    assert await once.run(call("x-2"), performed) == (Answer(200, body="{}"), False)


class Losing:
    """A run that is lost when the test says so."""

    def __init__(self, type_: str = "worker-lost") -> None:
        self.begun, self.lost = asyncio.Event(), asyncio.Event()
        self._type = type_

    async def __call__(self) -> Answer:
        self.begun.set()
        await self.lost.wait()
        raise error(self._type, "as the test has it")


class Watched(Once):
    """Says which calls have begun to wait."""

    waiting: dict[str, asyncio.Event]

    async def _existing(self, call: Keyed, *, is_new: bool) -> Run | None:
        found = await super()._existing(call, is_new=is_new)
        self.waiting[call.execution].set()
        return found


@pytest.fixture
async def watched(wavering: Wavering) -> AsyncIterator[Watched]:
    wavering.goes_on.set()
    errands = Errands()
    made = Watched(wavering, KEYS, errands, lambda: 60.0)
    made.waiting = defaultdict(asyncio.Event)
    yield made
    await errands.close(10)
    await made.close()


async def lost_of(*calls: "asyncio.Future[Any]") -> list[str]:
    """What each was told: the execution that may have happened."""
    told = []
    for one in calls:
        with pytest.raises(AnyPodError) as failure:
            await asyncio.wait_for(one, 60)
        assert failure.value.type == "worker-lost"
        told.append(failure.value.problem.execution or "")
    return told


async def test_whoever_waits_for_what_is_lost_is_told_so_and_runs_nothing(
    watched: Watched,
) -> None:
    """The first caller is there as far as anybody can see; its connection may be half open."""
    losing = Losing()
    first = asyncio.ensure_future(watched.run(call("x-1"), losing))
    await asyncio.wait_for(losing.begun.wait(), 60)
    repeats = [asyncio.ensure_future(watched.run(call(f"x-{n}"), performed)) for n in (2, 3)]
    for n in (2, 3):
        await asyncio.wait_for(watched.waiting[f"x-{n}"].wait(), 60)
    losing.lost.set()
    with pytest.raises(AnyPodError):
        await first
    assert await lost_of(*repeats) == ["x-1", "x-1"]
    # Who comes after that is taken at their word.
    assert await watched.run(call("x-4"), performed) == (Answer(200, body="{}"), False)


async def test_a_loss_is_not_forgotten_over_a_repeat_that_never_ran(watched: Watched) -> None:
    for execution, type_ in (("x-1", "worker-lost"), ("x-2", "no-worker")):
        losing = Losing(type_)
        first = asyncio.ensure_future(watched.run(call(execution), losing))
        await asyncio.wait_for(losing.begun.wait(), 60)
        if execution == "x-2":
            waits = asyncio.ensure_future(watched.run(call("x-3"), performed))
            await asyncio.wait_for(watched.waiting["x-3"].wait(), 60)
        losing.lost.set()
        with pytest.raises(AnyPodError):
            await first
    assert await lost_of(waits) == ["x-1"]
    assert await watched.run(call("x-4"), performed) == (Answer(200, body="{}"), False)


async def test_a_lost_keys_next_call_is_the_same_one_or_refused(watched: Watched) -> None:
    losing = Losing()
    first = asyncio.ensure_future(watched.run(call("x-1"), losing))
    losing.lost.set()
    await lost_of(first)
    other = replace(call("x-2"), fingerprint="another")

    async def committed(_write: Write, _when: tuple[str, int]) -> None:
        raise AssertionError("it is not accepted")

    for refused in (
        watched.run(other, performed),
        watched.accept(other, Answer(202, body="{}"), committed),
    ):
        with pytest.raises(AnyPodError) as failure:
            await refused
        assert failure.value.type == "idempotency-key-reused"
    assert await watched.run(call("x-3"), performed) == (Answer(200, body="{}"), False)


async def test_a_loss_that_its_caller_was_not_there_to_hear_of_is_told_to_the_next(
    once: Once, wavering: Wavering
) -> None:
    """Who comes back must not have it run again unasked."""
    wavering.goes_on.set()
    begun, lost = asyncio.Event(), asyncio.Event()

    async def performed_and_lost() -> Answer:
        begun.set()
        await lost.wait()
        raise error("worker-lost", "its worker was lost")

    leaving = asyncio.ensure_future(once.run(call("x-1"), performed_and_lost))
    await asyncio.wait_for(begun.wait(), 60)
    leaving.cancel()
    await asyncio.wait({leaving})
    back = asyncio.ensure_future(once.run(call("x-2"), performed))
    lost.set()
    with pytest.raises(AnyPodError) as told:
        await back
    assert (told.value.type, told.value.problem.execution) == ("worker-lost", "x-1")
    assert await once.run(call("x-3"), performed) == (Answer(200, body="{}"), False)


async def test_a_record_does_not_end_before_its_run_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"memory": "512Mi", "maxTimeoutSeconds": 86_400}
    async with (
        site(tmp_path, limits=limits, idempotencyTtlSeconds=60) as place,
        gateway(place) as one,
    ):
        granted: list[float] = []
        grant = one.store.grant

        async def noted(seconds: float) -> int:
            granted.append(seconds)
            return await grant(seconds)

        monkeypatch.setattr(one.store, "grant", noted)
        await one.pool.once.run(call("x-1"), performed)
        assert max(granted) >= 86_400
