"""Pools come and go also while the store is away; what is logged of them has their names."""

import asyncio
import logging

import pytest
from tests.support.engine import TOKEN, manifest, until
from tests.support.ports import free_port
from tests.support.scripted_worker import scripted_worker

from anypod.store.open import open_store
from anypod_gateway.discovery import Apply, DesiredPool, Endpoint
from anypod_gateway.links import Identity
from anypod_gateway.pools import Pools


class Told:
    """A source that says what the test says."""

    def __init__(self, apply: Apply) -> None:
        self.apply = apply

    async def run(self) -> None:
        await asyncio.Event().wait()


def waiting() -> int:
    coroutines = (task.get_coro() for task in asyncio.all_tasks())
    return sum(coroutine.__qualname__ == "Pools._sync" for coroutine in coroutines if coroutine)


async def test_one_task_waits_for_the_store_however_often_the_pools_change() -> None:
    store = await asyncio.to_thread(lambda: open_store(f"etcd://127.0.0.1:{free_port()}"))
    sources: list[Told] = []

    def source(apply: Apply) -> Told:
        sources.append(Told(apply))
        return sources[0]

    try:
        async with Pools(
            source=source, store=store, identity=lambda _: Identity("g1", "test", TOKEN)
        ) as pools:
            for _ in range(3):
                sources[0].apply([DesiredPool(manifest(), ())])
                await asyncio.sleep(0)
            assert waiting() == 1
            assert not pools.synced.is_set()
            sources[0].apply([])
            async with asyncio.timeout(60):
                await pools.synced.wait()
    finally:
        await store.close()


async def test_pools_of_one_name_are_told_apart_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    store = await asyncio.to_thread(lambda: open_store(f"etcd://127.0.0.1:{free_port()}"))
    sources: list[Told] = []

    def source(apply: Apply) -> Told:
        sources.append(Told(apply))
        return sources[0]

    async with scripted_worker() as worker:
        pools = Pools(source=source, store=store, identity=lambda _: Identity("g1", "test", TOKEN))
        async with pools:
            there = Endpoint("w1", "127.0.0.1", worker.port, ready=True)
            gone = Endpoint("w2", "127.0.0.1", free_port(), ready=True)
            theirs = DesiredPool(manifest(), (there, gone), namespace="team-a", is_home=False)
            sources[0].apply([theirs])
            for told in (
                "worker w1 of pool pool.team-a is ready",
                "link to w2 of pool pool.team-a",
                "store of pool pool.team-a",
            ):
                await until(lambda told=told: told in caplog.text)  # type: ignore[misc]
    await store.close()
