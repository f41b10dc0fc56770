"""Jobs outlive gateways and outages of the store, and are not run twice for it."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from tests.support.etcd import EtcdServer, running_etcd
from tests.support.jobs import ASYNC, ended, job
from tests.support.rig import Rig, pool_of, rig

WITNESS = """
import fcntl, time
def main(file: str, name: str, seconds: float) -> str:
    with open(f"{file}-{name}", "w") as alone:
        try:
            fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            write(file, f"beside {name}")
        write(file, f"begun {name}")
        time.sleep(seconds)
        write(file, f"done {name}")
    return name
def write(file, line):
    with open(file, "a") as log:
        log.write(line + chr(10))
"""


@dataclass
class Caller:
    """Submits jobs by whatever gateway there is, each until it knows that it was accepted."""

    made: Rig
    file: Path
    accepted: dict[str, str] = field(default_factory=dict)
    """Name and id."""

    async def submit(self, program: str, name: str, seconds: float) -> None:
        inputs = {"file": str(self.file), "name": name, "seconds": seconds}
        headers = {**ASYNC, "Idempotency-Key": name}
        while name not in self.accepted:
            gateway = random.choice(self.made.gateways)
            with contextlib.suppress(aiohttp.ClientError):
                answer = await gateway.run(program, headers=headers, **inputs)
                if answer.status == 202:
                    self.accepted[name] = answer.document["id"]
                else:
                    assert answer.status == 503, answer.body
            await asyncio.sleep(0.02)

    def told(self) -> Counter[str]:
        return Counter(self.file.read_text().splitlines())


@pytest.fixture
async def over_etcd(tmp_path: Path) -> AsyncIterator[tuple[Rig, EtcdServer]]:
    pool = pool_of(executors=4, jobs={"concurrency": 6})
    with running_etcd(tmp_path / "etcd") as etcd:
        async with rig(tmp_path, store=etcd.url, pool=pool, workers=2, gateways=2) as made:
            await made.gateway.create(WITNESS, "once")
            await made.gateway.create(WITNESS + "# again", "again", idempotent=True)
            yield made, etcd


async def test_a_job_that_ends_while_the_store_is_away_has_its_result_when_it_is_back(
    over_etcd: tuple[Rig, EtcdServer], tmp_path: Path
) -> None:
    made, etcd = over_etcd
    caller = Caller(made, tmp_path / "log")
    await caller.submit("once", "a", 1.0)
    async with asyncio.timeout(60):
        while not caller.file.exists():
            await asyncio.sleep(0.02)
    await asyncio.to_thread(etcd.kill)
    async with asyncio.timeout(60):
        while not caller.told()["done a"]:
            await asyncio.sleep(0.02)
    await asyncio.to_thread(etcd.start)
    assert (await ended(made.gateway, caller.accepted["a"]))["state"] == "succeeded"


async def test_a_gateway_that_is_told_to_stop_ends_its_jobs_or_leaves_them(
    over_etcd: tuple[Rig, EtcdServer], tmp_path: Path
) -> None:
    made, _ = over_etcd
    stays, goes = made.gateways
    made.gateways = [goes]
    assert await stays.stop() == 0  # so that the other one claims what is submitted
    going = Caller(made, tmp_path / "log")
    await going.submit("again", "short", 1.0)
    async with asyncio.timeout(60):
        while (await job(goes, going.accepted["short"]))["state"] != "running":
            await asyncio.sleep(0.02)
    assert await goes.stop() == 0
    left = await made.add_gateway()
    made.gateways.remove(goes)
    assert (await ended(left, going.accepted["short"]))["state"] == "succeeded"
    assert going.told() == {"begun short": 1, "done short": 1}
