"""Everything is read anew, each namespace apart."""

import asyncio
import logging
from typing import Any

import pytest

from anypod_operator.api_errors import ApiError, Forbidden
from anypod_operator.kinds import DEPLOYMENT, POOL, Kind
from anypod_operator.pools import PoolKey
from anypod_operator.resync import Freshness, Resync
from anypod_operator.world import World

PATIENCE = 30.0
Raw = dict[str, Any]


class Lists:
    """What the API server has in each namespace, or why it does not say."""

    def __init__(self) -> None:
        self.refusals: dict[str, ApiError] = {}
        self.asked = 0

    async def list_all(self, kind: Kind, namespace: str, _: str) -> tuple[list[Raw], str]:
        self.asked += 1
        await asyncio.sleep(0)
        if namespace in self.refusals:
            raise self.refusals[namespace]
        metadata = {"name": "texts", "namespace": namespace, "resourceVersion": "1"}
        return [{"metadata": metadata}] if kind in (POOL, DEPLOYMENT) else [], "2"


class Rig:
    def __init__(self) -> None:
        self.looked: list[PoolKey] = []
        self.api = Lists()
        self.world = World(self.looked.append)
        self.freshness = Freshness()
        self.again = asyncio.Event()
        self.resync = Resync(
            self.api,  # type: ignore[arg-type]
            self.world,
            ("a", "b"),
            self.freshness,
            lambda key, _: self.looked.append(key),
        )

    async def first(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.resync.first()

    async def read_anew(self) -> None:
        """Once more, and then it is stopped."""
        self.looked.clear()
        task = asyncio.create_task(self.resync.keep_reading(0.0, self.again.set))
        async with asyncio.timeout(PATIENCE):
            await self.again.wait()
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self.again.clear()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anypod_operator.resync.FIRST_PAUSE", 0.0)


FORBIDDEN = Forbidden("workerpools is forbidden")
AWAY = ApiError("the API server cannot be reached")


async def test_where_it_may_not_read_there_is_nothing_and_it_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig()
    rig.api.refusals["b"] = FORBIDDEN
    with caplog.at_level(logging.INFO):
        await rig.first()
        assert rig.world.pools() == [PoolKey("a", "texts")]
        await rig.read_anew()
        assert [one.getMessage() for one in caplog.records] == [
            f"namespace b cannot be read, trying on: {FORBIDDEN}"
        ]
        del rig.api.refusals["b"]
        await rig.read_anew()
    assert set(rig.world.pools()) == {PoolKey("a", "texts"), PoolKey("b", "texts")}
    assert caplog.records[-1].getMessage() == "namespace b can be read again"


@pytest.mark.parametrize("refusals", [{"b": AWAY}, {"a": FORBIDDEN, "b": FORBIDDEN}])
async def test_it_does_not_begin_while_it_does_not_know_or_may_read_nothing(
    refusals: dict[str, ApiError],
) -> None:
    rig = Rig()
    rig.api.refusals = refusals
    first = asyncio.create_task(rig.first())
    while rig.api.asked < 20:
        await asyncio.sleep(0)
    assert not first.done()
    refusals.clear()
    await first
    assert rig.world.pools()


async def test_what_was_known_of_a_namespace_that_stays_forbidden_is_forgotten() -> None:
    """Its pools are looked at once more, which forgets them elsewhere too."""
    rig = Rig()
    await rig.first()
    rig.api.refusals["b"] = FORBIDDEN
    rig.freshness.awaited(POOL, ("b", "texts"))
    await rig.read_anew()
    assert len(rig.world.pools()) == 2, "it may be for a moment only"
    await rig.read_anew()
    assert rig.world.pools() == [PoolKey("a", "texts")]
    assert rig.world.get(DEPLOYMENT, "b", "texts") is None
    assert set(rig.looked) == {PoolKey("a", "texts"), PoolKey("b", "texts")}
    assert rig.freshness.staleness() == 0.0


async def test_a_namespace_that_cannot_be_read_now_keeps_what_is_known_of_it() -> None:
    rig = Rig()
    await rig.first()
    rig.api.refusals["b"] = AWAY
    await rig.read_anew()
    assert len(rig.world.pools()) == 2
    assert set(rig.looked) == {PoolKey("a", "texts")}
