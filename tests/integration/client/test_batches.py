"""``map`` of both clients: as lazy as its reader, and undisturbed by connections that break."""

import asyncio
import contextlib
import gc
import itertools
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from tests.support.batches import NOTE, items_answered
from tests.support.rig import Gateway, Rig, pool_of, rig
from tests.support.tcp_proxy import TcpProxy

from anypod import AsyncClient, Client
from anypod.api.ids import new_execution_id
from anypod.client import (
    InvalidInputs,
    Item,
    NotFound,
    ProgramFailed,
    Unreachable,
    batches,
    ledgers,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

SQUARE = "def main(n: int) -> int:\n    return n * n\n"
Collect = Callable[..., Any]


async def collect_async(url: str, program: str, inputs: Any, **options: Any) -> list[Item]:
    async with AsyncClient(url) as client:
        return [item async for item in client.map(program, inputs, **options)]


async def collect_sync(url: str, program: str, inputs: Any, **options: Any) -> list[Item]:
    def collect() -> list[Item]:
        with Client(url) as client:
            return list(client.map(program, inputs, **options))

    return await asyncio.to_thread(collect)


both = pytest.mark.parametrize("collect", [collect_async, collect_sync])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    async with rig(tmp_path_factory.mktemp("rig"), pool=pool_of(executors=2), workers=2) as made:
        await made.gateway.create(SQUARE, "square")
        await made.gateway.create(NOTE, "note")
        await made.gateway.create("def main(text: str) -> str: return text", "echo")
        yield made


@pytest.fixture
def gateway(shared: Rig) -> Gateway:
    return shared.gateway


@both
async def test_each_input_has_its_item(gateway: Gateway, collect: Collect) -> None:
    items = await collect(gateway.url, "square", ({"n": n} for n in range(2500)))
    assert [item.index for item in items] == list(range(2500))
    assert [item.outputs for item in items] == [n * n for n in range(2500)]
    assert items[0].execution.program == "square"


@both
async def test_inputs_may_be_lines_of_json(gateway: Gateway, collect: Collect) -> None:
    lines = [b'{"n": 1}\n', b"\n", b'{"n":\n 2}\r\n', b"nope"]
    items = await collect(gateway.url, "square", lines, return_exceptions=True)
    assert [(item.index, item.outputs) for item in items] == [(0, 1), (2, 4), (3, None)]
    assert items[2].error.type == "bad-request"


@both
async def test_items_come_as_they_are_done_if_order_is_not_wanted(
    gateway: Gateway, collect: Collect, tmp_path: Path
) -> None:
    seconds = [1.0, *[0.0] * 10]
    inputs = [{"n": n, "file": str(tmp_path / "log"), "seconds": s} for n, s in enumerate(seconds)]
    items = await collect(gateway.url, "note", inputs, ordered=False)
    assert {item.index: item.outputs for item in items} == {n: n * n for n in range(11)}
    assert items[-1].index == 0


@both
async def test_an_item_that_fails_is_raised(gateway: Gateway, collect: Collect) -> None:
    with pytest.raises(InvalidInputs) as failed:
        await collect(gateway.url, "square", [{"n": 1}, {"n": "x"}, {"n": 2}])
    assert failed.value.problem.path == "inputs.n"
    assert failed.value.__notes__ == ["item 1 of a batch"]


@both
async def test_or_is_a_value(gateway: Gateway, collect: Collect) -> None:
    inputs = [{"n": 1}, {"n": "x"}, {"n": 2}]
    items = await collect(gateway.url, "square", inputs, return_exceptions=True)
    assert [item.outputs for item in items] == [1, None, 4]
    assert isinstance(items[1].error, InvalidInputs)


@both
async def test_what_is_wrong_with_all_of_it_is_raised(gateway: Gateway, collect: Collect) -> None:
    with pytest.raises(NotFound):
        await collect(gateway.url, "none", [{"n": 1}], return_exceptions=True)
    with pytest.raises(Unreachable):
        await collect("http://127.0.0.1:1", "square", [{"n": 1}])


@both
async def test_what_the_iterable_raises_is_raised(gateway: Gateway, collect: Collect) -> None:
    def inputs() -> Iterator[dict[str, int]]:
        yield {"n": 1}
        raise LookupError("of the iterable")

    with pytest.raises(LookupError, match="of the iterable"):
        await collect(gateway.url, "square", inputs())
    for wrong in (float("nan"), None, 7):
        given: Iterable[Any] = [{"n": 1}, {"n": wrong} if wrong != 7 else 7]
        if wrong is None:
            given = [{"n": 1}, None]
        with pytest.raises((ValueError, TypeError)) as failed:
            await collect(gateway.url, "square", given)
        assert failed.value.__notes__ == ["input 1 of a batch"]


async def test_an_iterable_may_await(gateway: Gateway) -> None:
    async def inputs() -> AsyncIterator[dict[str, int]]:
        for n in range(5):
            await asyncio.sleep(0)
            yield {"n": n}

    items = await collect_async(gateway.url, "square", inputs())
    assert [item.outputs for item in items] == [0, 1, 4, 9, 16]


@both
async def test_an_endless_iterable_is_read_only_as_its_items_are(
    gateway: Gateway, collect: Collect
) -> None:
    read = 0

    def inputs() -> Iterator[dict[str, Any]]:
        nonlocal read
        for read in itertools.count(1):
            yield {"text": f"{read}" * 20_000}

    if collect is collect_async:
        async with AsyncClient(gateway.url) as client:
            items = client.map("echo", inputs())
            first = [(await anext(items)).index for _ in range(5)]
            await items.aclose()
    else:

        def some() -> list[int]:
            with Client(gateway.url) as client:
                items = client.map("echo", inputs())
                found = [next(items).index for _ in range(5)]
                items.close()
                return found

        first = await asyncio.to_thread(some)
    assert first == list(range(5))
    assert read <= 5 + ledgers.MOST_ITEMS


async def test_a_batch_that_is_left_ends(gateway: Gateway, tmp_path: Path) -> None:
    log = tmp_path / "log"
    inputs = [{"n": n, "file": str(log), "seconds": 60 if n else 0} for n in range(50)]
    async with AsyncClient(gateway.url) as client:
        items = client.map("note", inputs, idempotency_key="")
        await anext(items)
        await items.aclose()
        await nothing_runs(gateway)
    assert log.read_text().count("done") == 1


async def test_a_batch_that_is_left_leaves_no_connection(gateway: Gateway) -> None:
    """Though the gateway takes no more of what was written to it."""
    inputs = ({"text": "x" * 7_900_000} for _ in itertools.count())
    async with AsyncClient(gateway.url) as client:
        items = client.map("echo", inputs, idempotency_key="")
        await anext(items)
        gateway.process.send_signal(signal.SIGSTOP)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    async for _ in items:
                        pass
            await items.aclose()
            await asyncio.sleep(0.1)
            assert not held()
        finally:
            gateway.process.send_signal(signal.SIGCONT)
    await nothing_runs(gateway)


def held() -> list[str]:
    """Connections with something that waits to be sent."""
    transports = [o for o in gc.get_objects() if isinstance(o, asyncio.Transport)]
    return [repr(t) for t in transports if t.get_write_buffer_size()]


async def nothing_runs(gateway: Gateway) -> None:
    async with asyncio.timeout(60):
        while (await gateway.ask("GET", "")).document["executors"]["busy"]:
            await asyncio.sleep(0.02)


@both
@pytest.mark.parametrize("ordered", [True, False])
async def test_a_connection_that_breaks_breaks_nothing(
    gateway: Gateway, collect: Collect, tmp_path: Path, ordered: bool
) -> None:
    log = tmp_path / "log"
    port = int(gateway.url.rpartition(":")[2])
    answered = await items_answered(gateway)
    async with TcpProxy(port) as proxy:

        async def cut() -> None:
            for times in range(1, 4):
                while await items_answered(gateway) < answered + 40 * times:
                    await asyncio.sleep(0.01)
                await proxy.cut()
                await proxy.restore()

        inputs = ({"n": n, "file": str(log), "seconds": 0.005} for n in range(200))
        cutting = asyncio.ensure_future(cut())
        async with asyncio.timeout(100):
            items = await collect(f"http://127.0.0.1:{proxy.port}", "note", inputs, ordered=ordered)
            await cutting
    assert {item.index: item.outputs for item in items} == {n: n * n for n in range(200)}
    assert len(items) == 200
    done = [line for line in log.read_text().splitlines() if line.startswith("done")]
    assert sorted(done) == sorted(f"done {n}" for n in range(200))


async def test_without_a_key_a_broken_connection_is_raised(
    gateway: Gateway, tmp_path: Path
) -> None:
    port = int(gateway.url.rpartition(":")[2])
    async with TcpProxy(port) as proxy, AsyncClient(f"http://127.0.0.1:{proxy.port}") as client:
        inputs = ({"n": n, "file": str(tmp_path / "log")} for n in itertools.count())
        items = client.map("note", inputs, idempotency_key="")
        await anext(items)
        await proxy.cut()
        with pytest.raises(ConnectionError):
            async for _ in items:
                pass


@contextlib.asynccontextmanager
async def ends_slowly(seconds: float) -> AsyncIterator[tuple[str, set[Any]]]:
    """What answers batches of nothing, and ends the body later than its last record; its
    connections."""
    connections: set[Any] = set()

    async def answer(request: web.Request) -> web.StreamResponse:
        connections.add(request.transport)
        await request.read()
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        await response.write(b'{"end":{"items":0}}\n')
        await asyncio.sleep(seconds)
        return response

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", connections
    finally:
        await runner.cleanup()


async def test_an_answer_is_read_to_its_end_and_its_connection_used_again() -> None:
    async with ends_slowly(0.05) as (url, connections), AsyncClient(url) as client:
        for _ in range(3):
            assert [item async for item in client.map("any", [])] == []
    assert len(connections) == 1


async def test_an_answer_that_does_not_end_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "REST_SECONDS", 0.05)
    async with ends_slowly(3600) as (url, connections), AsyncClient(url) as client:
        for _ in range(2):
            assert [item async for item in client.map("any", [])] == []
    assert len(connections) == 2


@both
async def test_a_session_has_its_batch(gateway: Gateway, collect: Collect) -> None:
    source = "seen = []\ndef main(n: int):\n    seen.append(n)\n    return list(seen)\n"
    await gateway.create(source, "seen")
    key = new_execution_id()
    items = await collect(gateway.url, "seen", [{"n": n} for n in range(5)], session=key)
    assert items[-1].outputs == list(range(5))


@both
async def test_a_key_makes_it_happen_once(gateway: Gateway, collect: Collect) -> None:
    await gateway.create("import time\ndef main(n: int): return time.monotonic_ns()", "now")
    key, inputs = new_execution_id(), [{"n": n} for n in range(5)]
    first = await collect(gateway.url, "now", inputs, idempotency_key=key)
    second = await collect(gateway.url, "now", inputs, idempotency_key=key)
    assert first == second


async def test_no_thread_is_left_behind(gateway: Gateway) -> None:
    before = threading.active_count()

    def some() -> None:
        with Client(gateway.url) as client:
            assert next(client.map("square", [{"n": 1}] * 50)).outputs == 1
            with pytest.raises(ProgramFailed):
                list(client.map("crash", [{}]))

    await gateway.create("def main(): raise ValueError", "crash")
    await asyncio.to_thread(some)
    async with asyncio.timeout(60):
        while any("anypod-" in thread.name for thread in threading.enumerate()):
            await asyncio.sleep(0.01)
    assert threading.active_count() <= before + 1
