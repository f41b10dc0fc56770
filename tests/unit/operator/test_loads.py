"""How busy workers are: asked of a server of the test's own in a worker's place."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from anypod_operator.loads import Loads
from anypod_operator.status import Load

LINES = b"""anypod_worker_executors_busy 2
anypod_worker_sessions 3
anypod_worker_sessions_busy 1
"""
POD = {
    "metadata": {"name": "w1", "namespace": "team"},
    "status": {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
}


class Answers:
    """What the worker says, chunk by chunk."""

    def __init__(self) -> None:
        self.chunks = [LINES]

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in self.chunks:
            await response.write(chunk)
            await asyncio.sleep(0.01)  # which makes of each a segment of its own
        return response


@pytest.fixture
async def worker(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Answers]:
    answers, app = Answers(), web.Application()
    app.router.add_get("/metrics", answers.metrics)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setattr("anypod_operator.loads.WORKER_PORT", runner.addresses[0][1])
    yield answers
    await runner.cleanup()


@pytest.fixture
async def loads() -> AsyncIterator[Loads]:
    async with aiohttp.ClientSession() as session:
        yield Loads(session)


async def test_an_answer_may_come_in_parts(worker: Answers, loads: Loads) -> None:
    worker.chunks = [LINES[:40], LINES[40:70], LINES[70:]]
    assert await loads.ask([POD]) == {"w1": Load(busy=2, sessions=3, busy_sessions=1)}


async def test_an_answer_that_is_far_too_long_is_none(worker: Answers, loads: Loads) -> None:
    worker.chunks = [LINES, *[b"x" * 65_536] * 5]
    assert await loads.ask([POD]) == {}
