"""How busy workers are, and which go first: asked of a server in a worker's place."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from tests.support.operator_pools import make_pool

from anypod_operator.kinds import POD as POD_KIND
from anypod_operator.kinds import POOL, Kind, Raw
from anypod_operator.load_board import LoadBoard
from anypod_operator.loads import Loads
from anypod_operator.metrics import Metrics
from anypod_operator.pools import PoolKey
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


OTHER: Raw = {
    "metadata": {**POD["metadata"], "name": "w2"},
    "status": {**POD["status"], "podIP": "127.0.0.2"},
}
ROOM = asyncio.Semaphore(4)


class Answers:
    """What the worker says, chunk by chunk; the one at the other address says what is right."""

    def __init__(self) -> None:
        self.chunks = [LINES]
        self.status = 200
        self.headers: dict[str, str] = {}
        self.asked = 0
        self.awaited = 0
        """It is silent until it has been asked so often."""
        self.enough = asyncio.Event()
        self.led_elsewhere = 0

    async def elsewhere(self, _: web.Request) -> web.Response:
        self.led_elsewhere += 1
        return web.Response(body=LINES)

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        if request.host.startswith(OTHER["status"]["podIP"]):
            return web.Response(body=LINES)
        self.asked += 1
        if self.asked >= self.awaited:
            self.enough.set()
        await self.enough.wait()
        response = web.StreamResponse(status=self.status, headers=self.headers)
        await response.prepare(request)
        for chunk in self.chunks:
            await response.write(chunk)
            await asyncio.sleep(0.01)  # which makes of each a segment of its own
        return response


@pytest.fixture
async def worker(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Answers]:
    answers, app = Answers(), web.Application()
    app.router.add_get("/metrics", answers.metrics)
    app.router.add_get("/elsewhere", answers.elsewhere)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, POD["status"]["podIP"], 0).start()
    port = runner.addresses[0][1]
    await web.TCPSite(runner, OTHER["status"]["podIP"], port).start()
    monkeypatch.setattr("anypod_operator.loads.WORKER_PORT", port)
    yield answers
    await runner.cleanup()


@pytest.fixture
async def loads() -> AsyncIterator[Loads]:
    async with aiohttp.ClientSession() as session:
        yield Loads(session)


async def test_an_answer_may_come_in_parts(worker: Answers, loads: Loads) -> None:
    worker.chunks = [LINES[:40], LINES[40:70], LINES[70:]]
    assert await loads.ask([POD], ROOM) == {"w1": Load(busy=2, sessions=3, busy_sessions=1)}


async def test_an_answer_that_is_far_too_long_is_none(worker: Answers, loads: Loads) -> None:
    worker.chunks = [LINES, *[b"x" * 65_536] * 5]
    assert await loads.ask([POD], ROOM) == {}


ODD: dict[str, tuple[int, dict[str, str], bytes]] = {
    "infinite": (200, {}, LINES.replace(b"busy 2", b"busy inf")),
    "no number": (200, {}, LINES.replace(b"busy 2", b"busy nan")),
    "a huge number": (200, {}, LINES.replace(b"busy 2", b"busy " + b"9" * 5000)),
    "no text": (200, {}, b"\xff\x00" + LINES),
    "an error": (500, {}, LINES),
    "a status of its own": (999, {}, LINES),
    "packed, of which little is much": (200, {"Content-Encoding": "gzip"}, gzip.compress(LINES)),
    "too short": (200, {"Content-Length": "1000"}, LINES),
}


@pytest.mark.parametrize("answer", ODD)
async def test_what_a_worker_says_costs_only_what_is_known_of_it(
    worker: Answers, loads: Loads, answer: str
) -> None:
    worker.status, worker.headers, body = ODD[answer]
    worker.chunks = [body]
    world = World(lambda _: None)
    for pod in (POD, OTHER):
        world.note(POD_KIND, "ADDED", pod)
    world.note(POOL, "ADDED", {"metadata": {**POD["metadata"], "name": "texts"}})
    board = LoadBoard(world, loads, Metrics(), lambda _: None)
    asking = asyncio.create_task(board.keep_asking(0.0))
    try:
        while worker.asked < 3 and not asking.done():
            await asyncio.sleep(0.01)
        assert not asking.done()
        assert board.of(PoolKey("team", "texts")).keys() == {"w2"}
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_worker_sends_the_operator_elsewhere(
    worker: Answers, loads: Loads, status: int
) -> None:
    worker.status, worker.headers, worker.chunks = status, {"Location": "/elsewhere"}, []
    assert await loads.ask([POD, OTHER], ROOM) == {"w2": Load(busy=2, sessions=3, busy_sessions=1)}
    assert worker.led_elsewhere == 0


async def test_an_answer_without_an_end_is_not_waited_for(
    worker: Answers, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anypod_operator.loads.ANSWER_SECONDS", 0.3)
    worker.chunks = [LINES, *[b"x"] * 1000]
    async with asyncio.timeout(5):
        assert (await loads.ask([POD, OTHER], ROOM)).keys() == {"w2"}


async def test_a_mistake_of_ours_about_an_answer_is_told_and_costs_no_more(
    worker: Answers, loads: Loads, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_(text: str) -> Load:
        raise RuntimeError(text)

    monkeypatch.setattr("anypod_operator.loads.parse", break_)
    assert await loads.ask([POD], ROOM) == {}
    assert "worker team/w1" in caplog.text


def world_of(*pools: str) -> World:
    """Each with one worker, which is the one that answers what a test says."""
    world = World(lambda _: None)
    for name in pools:
        metadata = {**POD["metadata"], "name": name, "labels": {"anypod.dev/pool": name}}
        world.note(POOL, "ADDED", {"metadata": metadata})
        world.note(POD_KIND, "ADDED", {**POD, "metadata": metadata})
    return world


async def test_a_silent_worker_makes_no_other_pool_wait(worker: Answers, loads: Loads) -> None:
    names = [f"p{number}" for number in range(20)]
    worker.awaited = len(names)
    board = LoadBoard(world_of(*names), loads, Metrics(), lambda _: None)
    await board.ask_all()
    assert {name for name in names if board.of(PoolKey("team", name))} == set(names)


async def test_a_silent_worker_makes_no_scale_in_of_another_pool_wait(
    worker: Answers, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anypod_operator.loads.ANSWER_SECONDS", 60.0)
    monkeypatch.setattr("anypod_operator.load_board.AT_ONCE", 1)
    worker.awaited = 2
    world = world_of("silent")
    board = LoadBoard(world, loads, Metrics(), lambda _: None)
    asking = asyncio.create_task(board.ask_all())
    while not worker.asked:
        await asyncio.sleep(0.01)
    pool = make_pool(replicas=1)
    for pod in (OTHER, {**OTHER, "metadata": {**OTHER["metadata"], "name": "w3"}}):
        world.note(POD_KIND, "ADDED", pod)
    written = Written()
    scale_in = ScaleIn(written, world, loads, board.last_of)  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        assert await scale_in.prepare(pool, {"spec": {"replicas": 2}})
    assert written.costs.keys() == {"w2", "w3"}
    assert not asking.done()
    worker.enough.set()
    await asking


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
