"""No record stays of a keyed run that nobody is at: its key would answer no more."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from anypod.api.problems import AnyPodError, error
from anypod.store.checks import Write
from anypod.store.keys import PoolKeys
from anypod.store.kv import KeyValue, Put, StoreUnavailable
from anypod.store.observed import ObservedStore
from anypod.store.once import Answer
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
