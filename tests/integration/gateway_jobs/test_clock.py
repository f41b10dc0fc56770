"""A gateway's wall clock is set an hour forwards or back: nothing ends early, late, or twice."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.support.etcd import running_etcd
from tests.support.impatient_gateway import CLAIM_SECONDS
from tests.support.jobs import NOTE, WHILE, accepted, ended, job, running, wrote
from tests.support.rig import Gateway, Rig, pool_of, rig
from tests.support.wall_clock import WallClock

AN_HOUR = 3700
"""And somewhat more: sessions are kept for one."""
RENEWALS = 2 * int(CLAIM_SECONDS)
"""More than a claim, or an owner, holds without one: each is renewed once a second."""
TALLY = """
from anypod import session
def main() -> int:
    session.state["count"] = session.state.get("count", 0) + 1
    return session.state["count"]
"""
SESSION = {"X-Session-ID": "one"}
pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path)


@pytest.fixture(params=["sqlite", "etcd"])
async def made(
    request: pytest.FixtureRequest, tmp_path: Path, clock: WallClock
) -> AsyncIterator[Rig]:
    """One gateway, which has that clock, and short leases; those that come later have the
    machine's."""
    pool = pool_of(executors=6, jobs={"concurrency": 4})
    with running_etcd(tmp_path / "etcd") as etcd:
        store = etcd.url if request.param == "etcd" else ""
        async with rig(tmp_path, store=store, pool=pool, gateways=0) as made:
            made.environment = clock.environment
            gateway = await made.add_gateway(impatient=True)
            made.environment = {}
            await gateway.create(WHILE, "while")
            await gateway.create(WHILE + "# again", "while-again", idempotent=True)
            await gateway.create(NOTE, "note")
            await gateway.create(TALLY, "tally")
            yield made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log"


async def its_time(gateway: Gateway) -> datetime:
    id_ = await accepted(gateway, "note", file="/dev/null")
    return datetime.fromisoformat((await job(gateway, id_))["createdAt"])


async def renewals(gateway: Gateway) -> int:
    metrics = (await gateway.ask("GET", "//metrics")).body.decode()
    pattern = r'anypod_store_seconds_count\{operation="renew",outcome="ok"\} (\d+)'
    found = re.search(pattern, metrics)
    return int(found[1]) if found is not None else 0


async def renewed(gateway: Gateway) -> None:
    wanted = await renewals(gateway) + RENEWALS
    async with asyncio.timeout(120):
        while await renewals(gateway) < wanted:
            await asyncio.sleep(0.1)


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


@pytest.mark.parametrize("jump", [AN_HOUR, -AN_HOUR])
async def test_what_runs_goes_on_and_what_is_kept_stays(
    made: Rig, clock: WallClock, file: Path, jump: int
) -> None:
    jumping = made.gateway
    assert (await jumping.run("tally", headers=SESSION)).outputs == 1
    kept = await jumping.run("note", headers=keyed("kept"), file=f"{file}.kept")
    jobs = [await accepted(jumping, name, file=str(file)) for name in ("while", "while-again")]
    for id_ in jobs:
        await running(jumping, id_)
    called = asyncio.create_task(jumping.run("while", headers=keyed("called"), file=str(file)))
    await wrote(file, "begun", 3)
    other = await made.add_gateway()
    await made.linked()
    before = await its_time(jumping)
    clock.set(jump)
    shift = await its_time(jumping) - before
    assert abs(shift - timedelta(seconds=jump)) < timedelta(seconds=600)
    await renewed(jumping)
    for gateway in (other, jumping):
        for id_ in jobs:
            assert (await job(gateway, id_))["state"] == "running"
        again = await gateway.run("note", headers=keyed("kept"), file=f"{file}.kept")
        assert again.body == kept.body
    assert (await other.run("tally", headers=SESSION)).outputs == 2
    assert (await jumping.run("tally", headers=SESSION)).outputs == 3
    # What begins now is known to both.
    new = await accepted(jumping, "note", file=f"{file}.new")
    assert (await ended(other, new))["state"] == "succeeded"
    listed = (await other.ask("GET", "/jobs?limit=100")).document["items"]
    assert {*jobs, new} <= {one["id"] for one in listed}
    Path(f"{file}.go").touch()
    answer = await called
    assert answer.status == 200
    replayed = await other.run("while", headers=keyed("called"), file=str(file))
    assert replayed.body == answer.body
    for id_ in jobs:
        found = await ended(other, id_)
        assert (found["state"], found["attempts"]) == ("succeeded", 1)
    assert file.read_text().count("begun") == 3


async def test_what_a_dead_gateway_held_is_free_when_its_leases_end(
    made: Rig, clock: WallClock, file: Path
) -> None:
    """Not an hour later."""
    jumping = made.gateway
    clock.set(AN_HOUR)
    id_ = await accepted(jumping, "while-again", file=str(file), name="job")
    called = asyncio.create_task(
        jumping.run("while", headers=keyed("c"), file=str(file), name="call")
    )
    await wrote(file, "begun", 2)
    other = await made.add_gateway()
    await made.linked()
    await jumping.stop(signal.SIGKILL)
    made.gateways.remove(jumping)
    await asyncio.wait({called})
    assert called.exception() is not None
    told = await other.run("while", headers=keyed("c"), file=str(file), name="call")
    assert (told.status, told.document["type"]) == (502, "worker-lost")
    await wrote(file, "begun job", 2)
    Path(f"{file}.go").touch()
    found = await ended(other, id_)
    assert (found["state"], found["attempts"]) == ("succeeded", 2)
