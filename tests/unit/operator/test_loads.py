"""How busy workers are, and which go first: asked of a server in a worker's place."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from tests.support.operator_pools import make_pool

from anypod_operator.kinds import POD as POD_KIND
from anypod_operator.kinds import Kind, Raw
from anypod_operator.load_board import LoadBoard
from anypod_operator.loads import Loads
from anypod_operator.metrics import Metrics
from anypod_operator.scale_in import COST, ScaleIn
from anypod_operator.status import Load
from anypod_operator.world import World

LINES = b"""anypod_worker_executors_busy 2
anypod_worker_sessions 3
anypod_worker_sessions_busy 1
"""
POD: Raw = {
    "metadata": {
        "name": "w1",
        "namespace": "team",
        "labels": {"anypod.dev/pool": "texts"},
        "resourceVersion": "1",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    },
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


class Written:
    """What was written of pods."""

    def __init__(self) -> None:
        self.costs: dict[str, str] = {}

    async def merge(self, _: Kind, namespace: str, name: str, body: Raw) -> None:
        self.costs[name] = body["metadata"]["annotations"][COST]


async def test_who_is_too_busy_to_answer_does_not_go_first(worker: Answers, loads: Loads) -> None:
    """Its sessions are what it said when it last answered."""
    pool = make_pool(replicas=1)
    world = World(lambda _: None)
    board = LoadBoard(world, loads, Metrics(), lambda _: None)
    idle = {**POD, "metadata": {**POD["metadata"], "name": "w2"}}
    for pod in (POD, idle):
        world.note(POD_KIND, "ADDED", pod)
    await board._ask(pool.owner.key)
    worker.chunks = [b"not now"]
    await board._ask(pool.owner.key)
    assert board.of(pool.owner.key) == {}, "the status counts only who answers"
    written = Written()
    scale_in = ScaleIn(written, world, loads, board.last_of)  # type: ignore[arg-type]
    assert await scale_in.prepare(pool, {"spec": {"replicas": 2}})
    assert written.costs == {"w1": "1320", "w2": "1320"}
    world.note(
        POD_KIND, "DELETED", {**idle, "metadata": {**idle["metadata"], "resourceVersion": "2"}}
    )
    assert board.last_of(pool.owner.key).keys() == {"w1"}
