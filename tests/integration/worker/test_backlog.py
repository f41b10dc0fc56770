"""Executions sent ahead of a free executor: they begin when one is free, or are given back soon."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.worker import Gateway, Worker, linked, started_worker, worker_config

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAIT = """
import pathlib, time
def main(end: str, began: str = ""):
    if began:
        pathlib.Path(began).touch()
    while not pathlib.Path(end).exists():
        time.sleep(0.001)
    return "ended"
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker() -> AsyncIterator[Worker]:
    async with started_worker(worker_config(executors=1)) as worker:
        yield worker


@pytest_asyncio.fixture(loop_scope="module")
async def gateway(worker: Worker, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with linked(worker) as gateway:
        (tmp_path / "now").touch()
        known = await gateway.run(WAIT, {"end": str(tmp_path / "now")})
        assert known.outputs == "ended"
        await gateway.until(lambda: gateway.load.idle == 1)
        yield gateway


async def test_what_cannot_begin_is_refused_and_never_runs(
    gateway: Gateway, tmp_path: Path
) -> None:
    end, began = tmp_path / "end", tmp_path / "began"
    running = await gateway.begin(WAIT, {"end": str(end)})
    ahead = await gateway.run(WAIT, {"end": str(end), "began": str(began)})
    assert ahead.refused is not None
    assert ahead.refused.reason == "full"
    end.touch()
    assert (await gateway.end(running)).outputs == "ended"
    assert not began.exists()


async def test_what_is_cancelled_in_time_never_runs(gateway: Gateway, tmp_path: Path) -> None:
    end, began = tmp_path / "end", tmp_path / "began"
    running = await gateway.begin(WAIT, {"end": str(end)})
    ahead = await gateway.begin(WAIT, {"end": str(end), "began": str(began)})
    await gateway.cancel(ahead)
    await gateway.end(ahead)
    end.touch()
    assert (await gateway.end(running)).outputs == "ended"
    assert not began.exists()


async def test_more_than_can_wait_is_refused_at_once_and_the_rest_runs_or_is_given_back(
    gateway: Gateway, tmp_path: Path
) -> None:
    end = str(tmp_path / "now")
    answers = await asyncio.gather(*(gateway.run(WAIT, {"end": end}) for _ in range(20)))
    ran = [answer for answer in answers if answer.refused is None]
    assert ran
    assert {answer.outputs for answer in ran} == {"ended"}
    assert {a.refused.reason for a in answers if a.refused is not None} <= {"full"}
    await gateway.until(lambda: gateway.load.idle == 1 and gateway.load.busy == 0)


async def test_two_gateways_both_get_on(worker: Worker, gateway: Gateway, tmp_path: Path) -> None:
    """One that refills at once does not keep out another that asks again when it is refused."""
    end = str(tmp_path / "now")
    over = asyncio.Event()

    async def flood() -> None:
        while not over.is_set():
            await gateway.run(WAIT, {"end": end})

    async with linked(worker, "g2") as other:
        flooding = [asyncio.create_task(flood()) for _ in range(2)]
        for _ in range(20):
            async with asyncio.timeout(30):
                while (await other.run(WAIT, {"end": end})).refused is not None:
                    pass
        over.set()
        await asyncio.gather(*flooding)
