"""A gateway that was frozen longer than its lease finds its jobs taken over, and does not go on."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.gateway_jobs.test_deaths import WITNESS, Caller
from tests.support.jobs import ended, job
from tests.support.rig import Rig, pool_of, rig


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path, pool=pool_of(executors=2), workers=1) as made:
        await made.gateway.create(WITNESS, "once")
        await made.gateway.create(WITNESS + "# again", "again", idempotent=True)
        yield made


@pytest.mark.timeout(240)
async def test_what_a_frozen_gateway_ran_runs_elsewhere_and_never_beside(
    alone: Rig, tmp_path: Path
) -> None:
    frozen = alone.gateway
    caller = Caller(alone, tmp_path / "log")
    await caller.submit("again", "a", 60.0)
    async with asyncio.timeout(60):
        while not caller.file.exists():
            await asyncio.sleep(0.02)
    frozen.process.send_signal(signal.SIGSTOP)
    other = await alone.add_gateway()
    try:
        async with asyncio.timeout(120):
            while (await job(other, caller.accepted["a"]))["attempts"] < 2:
                await asyncio.sleep(0.1)
            while caller.told()["begun a"] < 2:
                await asyncio.sleep(0.1)
    finally:
        frozen.process.send_signal(signal.SIGCONT)
    await frozen.ready()
    # It has heard that its claim is gone, and lets the other one go on.
    async with asyncio.timeout(60):
        while "is not this gateway's any more" not in await frozen.log():
            await asyncio.sleep(0.1)
    assert (await job(other, caller.accepted["a"]))["state"] == "running"
    await other.ask("POST", f"/jobs/{caller.accepted['a']}/cancel")
    assert (await ended(other, caller.accepted["a"]))["state"] == "cancelled"
    assert not caller.told()["beside a"]
    assert caller.told()["begun a"] == 2
