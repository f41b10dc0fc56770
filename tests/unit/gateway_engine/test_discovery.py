"""The pools file is followed, and a broken one changes nothing."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.engine import manifest

from anypod.resources import pools_file
from anypod.resources.pools_file import PoolEntry, PoolsFile, WorkerEndpoint
from anypod_gateway.discovery import DesiredPool, Endpoint, PoolsFileSource, diff


def endpoint(name: str, port: int = 1, *, ready: bool = True) -> Endpoint:
    return Endpoint(name, "127.0.0.1", port, ready)


def test_the_difference_says_who_went_who_came_and_who_changed() -> None:
    known = {name: endpoint(name) for name in "abcd"}
    desired = [endpoint("a"), endpoint("b", ready=False), endpoint("c", 2), endpoint("e")]
    found = diff(known, desired)
    assert found.gone == ["c", "d"]
    assert found.new == [endpoint("c", 2), endpoint("e")]
    assert found.changed == [endpoint("b", ready=False)]


@asynccontextmanager
async def followed(path: Path) -> "AsyncIterator[asyncio.Queue[list[DesiredPool]]]":
    told: asyncio.Queue[list[DesiredPool]] = asyncio.Queue()
    task = asyncio.create_task(PoolsFileSource(path, "default", told.put_nowait).run())
    try:
        yield told
    finally:
        task.cancel()
        await asyncio.wait({task})


def content(*names: str) -> PoolsFile:
    workers = [WorkerEndpoint(name=name, host="h", port=1, ready=True) for name in names]
    return PoolsFile(pools=[PoolEntry(pool=manifest(), workers=workers, message="m")])


async def test_a_pools_file_is_read_whenever_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pools.json"
    async with followed(path) as told:
        for names in (["a"], ["a", "b"], []):
            await asyncio.to_thread(pools_file.write, path, content(*names))
            (pool,) = await asyncio.wait_for(told.get(), 10)
            assert [worker.name for worker in pool.endpoints] == names
            assert pool.name == "pool"
            assert pool.message == "m"


async def test_a_broken_pools_file_is_complained_of_once_and_the_last_good_one_holds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "pools.json"
    await asyncio.to_thread(pools_file.write, path, content("a"))
    async with followed(path) as told:
        await asyncio.wait_for(told.get(), 10)
        with caplog.at_level(logging.INFO, logger="anypod_gateway.discovery"):
            path.write_text("{")
            while not caplog.records:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)  # several more looks at the same file
            assert told.empty()
            assert len(caplog.records) == 1
            await asyncio.to_thread(pools_file.write, path, content("b"))
            (pool,) = await asyncio.wait_for(told.get(), 10)
        assert [worker.name for worker in pool.endpoints] == ["b"]
        assert "read again" in caplog.records[-1].message


async def test_a_pools_file_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pools.json"
    async with followed(path) as told:
        await asyncio.sleep(0.15)
        assert told.empty()
        await asyncio.to_thread(pools_file.write, path, content("a"))
        assert await asyncio.wait_for(told.get(), 10)
