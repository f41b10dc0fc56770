"""Gateways whose store is away: ready while none of them can know more than another."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.support.engine import Gateway, Site, gateway, manifest, site, until
from tests.support.etcd import EtcdServer
from tests.support.scripted_worker import scripted_worker
from tests.support.tcp_proxy import TcpProxy
from tests.support.worker import code_of

from anypod.resources import pools_file
from anypod.resources.pools_file import PoolEntry, PoolsFile
from anypod.store.revisions import new_revision
from anypod.wire.messages import Saw, StoreSeen
from anypod_gateway import hearsay

ECHO = "def main(x: int) -> int:\n    return x\n"
FIRST, SECOND = (new_revision(code_of(ECHO + more)) for more in ("", "# again"))


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearsay, "SILENT_SECONDS", 2.0)


class Both:
    """Two gateways with one worker; the first has a way of its own to etcd, that can be cut."""

    def __init__(self, place: Site, proxy: TcpProxy, first: Gateway, second: Gateway) -> None:
        self.place = place
        self.proxy = proxy
        self.first = first
        self.second = second

    def why(self) -> tuple[str | None, str | None]:
        return self.first.pools.not_ready(), self.second.pools.not_ready()

    async def have_heard(self) -> None:
        """What each other says of the store."""
        fronts = (self.first, self.second)
        await until(lambda: all(told(front) for front in fronts))


def told(front: Gateway) -> list[Saw]:
    heard = front.pool.roster.workers["w1"].hearsay
    return heard.others if heard is not None else []


def silent(front: Gateway) -> float:
    return front.pool.watch.knowledge().silent_seconds


@pytest.fixture
async def both(etcd: EtcdServer, tmp_path: Path) -> AsyncIterator[Both]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        place = await enter(site(tmp_path, store=etcd.url))
        proxy = await enter(TcpProxy(etcd.port))
        its_own = f"etcd://127.0.0.1:{proxy.port}"
        first = await enter(gateway(place, "g1", store_url=its_own))
        second = await enter(gateway(place, "g2"))
        await place.start("w1")
        await first.sees("w1")
        await second.sees("w1")
        made = Both(place, proxy, first, second)
        await made.have_heard()
        yield made


async def add_pool_without_workers(both: Both) -> None:
    known = await asyncio.to_thread(pools_file.read, both.place.path)
    named = manifest().metadata.model_copy(update={"name": "none"})
    other = manifest().model_copy(update={"metadata": named})
    more = [*known.pools, PoolEntry(pool=other, workers=[])]
    await asyncio.to_thread(pools_file.write, both.place.path, PoolsFile(pools=more))
    for front in (both.first, both.second):
        await until(lambda front=front: "none" in front.pools.current())  # type: ignore[misc]
        await front.pools.current()["none"].watch.synced.wait()


async def remain_ready(both: Both, until_silent: float) -> None:
    while silent(both.first) < until_silent:
        assert both.why() == (None, None)
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_they_serve_on_when_the_store_is_away_from_all(
    both: Both, etcd: EtcdServer, how: str
) -> None:
    programs = both.second.pool.programs()
    head = (await programs.create("a", FIRST)).head
    for front in (both.first, both.second):
        assert await front.pool.cache.head("a") == head
    await add_pool_without_workers(both)
    await asyncio.to_thread(etcd.kill) if how == "killed" else etcd.freeze()
    await remain_ready(both, until_silent=hearsay.BELIEVED_SECONDS + 2)
    for front in (both.first, both.second):
        assert await front.pool.cache.head("a") == head
        assert await front.outputs(ECHO, {"x": 1}) == 1
    await asyncio.to_thread(etcd.start) if how == "killed" else etcd.thaw()
    await until(lambda: silent(both.first) < 1 and silent(both.second) < 1)
    assert both.why() == (None, None)


async def test_one_that_alone_has_lost_the_store_is_not_ready(both: Both) -> None:
    await both.proxy.cut()
    await until(lambda: both.first.pools.not_ready())
    assert "other gateways know more" in str(both.first.pools.not_ready())
    assert both.second.pools.not_ready() is None
    assert await both.first.outputs(ECHO, {"x": 1}) == 1  # for who comes all the same
    await both.proxy.restore()
    await until(lambda: both.first.pools.not_ready() is None)


async def test_one_that_has_missed_the_last_change_is_not_ready(
    both: Both, etcd: EtcdServer
) -> None:
    """The store ends for both within the time in which they may differ."""
    programs = both.second.pool.programs()
    await programs.create("a", FIRST)
    await until(lambda: silent(both.first) < 0.5)
    both.proxy.freeze()
    await programs.put("a", SECOND)
    await asyncio.to_thread(etcd.kill)
    await both.proxy.cut()
    assert silent(both.first) - silent(both.second) < hearsay.SLACK_SECONDS
    await until(lambda: both.first.pools.not_ready())
    assert "other gateways know more" in str(both.first.pools.not_ready())
    for _ in range(50):
        assert both.second.pools.not_ready() is None
        assert both.first.pools.not_ready()
        await asyncio.sleep(0.1)


async def test_one_that_no_worker_tells_anything_is_not_ready(both: Both, etcd: EtcdServer) -> None:
    await both.place.kill("w1")
    await asyncio.to_thread(etcd.kill)
    await until(lambda: all("no worker says" in str(why) for why in both.why()))


async def test_a_worker_of_a_version_that_passes_nothing_on_is_asked_nothing(
    tmp_path: Path, etcd: EtcdServer
) -> None:
    async with (
        site(tmp_path, store=etcd.url) as place,
        scripted_worker() as worker,
        gateway(place) as front,
    ):
        await place.add(worker)
        await front.sees("w1")
        await asyncio.to_thread(etcd.kill)
        await until(lambda: "no worker says" in str(front.pools.not_ready()))
        assert not any(isinstance(message, StoreSeen) for message in worker.received)
