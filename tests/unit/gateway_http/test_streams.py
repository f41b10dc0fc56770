"""Runs as server-sent events: their form, the client's pace, and how they end."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from anypod.api.problems import error
from anypod.resources import WorkerPoolSpec
from anypod.store.keys import PoolKeys
from anypod.store.kv import StoreUnavailable
from anypod.store.open import open_store
from anypod.wire.messages import Chunk, Log
from anypod_gateway import connections, middleware
from anypod_gateway.access_log import AccessLog
from anypod_gateway.calls import CALL
from anypod_gateway.errands import Errands
from anypod_gateway.executions import (
    ExecutionAnswer,
    ExecutionInfo,
    ExecutionRequest,
    StreamEvent,
)
from anypod_gateway.handlers.keyed import stream_once
from anypod_gateway.handlers.streams import stream
from anypod_gateway.hosts import AnyHost
from anypod_gateway.lifecycle import Lifecycle
from anypod_gateway.log_lines import LineWriter
from anypod_gateway.metrics import Metrics
from anypod_gateway.once import Once

Script = Callable[[], AsyncIterator[StreamEvent]]

ANSWER = ExecutionAnswer(b"null", ExecutionInfo("x-1", "p", "r" * 64, "w1", 1, 0.001, 0.002))


@dataclass
class Scripted:
    """The running side of a pool: does what the test says, and tells when it was stopped."""

    script: Script
    name: str = "default"
    spec: WorkerPoolSpec = field(default_factory=WorkerPoolSpec)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    once: Once | None = None

    @property
    def runner(self) -> "Scripted":
        return self

    async def stream(self, request: ExecutionRequest) -> AsyncIterator[StreamEvent]:
        try:
            async for event in self.script():
                yield event
        finally:
            self.closed.set()


@dataclass
class Settings:
    heartbeat_seconds: float = 30.0


@dataclass
class Services:
    metrics: Metrics
    settings: Settings

    @contextmanager
    def running(self, pool: Any) -> Iterator[None]:
        yield

    def note(self, pool: Any, call: Any, info: ExecutionInfo) -> None:
        call.worker = info.worker


@asynccontextmanager
async def serve(
    script: Script, *, heartbeat: float = 30.0, seconds: float = 60.0, once: Once | None = None
) -> AsyncIterator[tuple[str, Scripted, Lifecycle]]:
    lines, life, metrics = LineWriter(os.open(os.devnull, os.O_WRONLY)), Lifecycle(), Metrics()
    pool = Scripted(script, once=once)
    services: Any = Services(metrics, Settings(heartbeat))

    async def handler(request: web.Request) -> web.StreamResponse:
        async def no_code() -> Any:
            raise AssertionError

        request[CALL].pool = pool.name
        execution = ExecutionRequest(
            execution="x-1",
            program="p",
            revision="r" * 64,
            code=no_code,
            inputs=b"{}",
            deadline=asyncio.get_running_loop().time() + seconds,
        )
        if once is not None:
            return await stream_once(request, services, pool, execution, b"{}")  # type: ignore[arg-type]
        return await stream(request, services, pool, execution)  # type: ignore[arg-type]

    access = AccessLog(lines, "json")
    app = web.Application(
        middlewares=[
            middleware.Front(
                hosts=AnyHost(), metrics=metrics, access=access, life=life
            ).middleware()
        ]
    )
    app.router.add_post("/run", handler)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=5)
    await runner.setup()
    sock = socket.create_server(("127.0.0.1", 0))
    listening = await connections.listen(runner, sock)
    yield f"http://127.0.0.1:{sock.getsockname()[1]}/run", pool, life
    listening.close()
    await runner.cleanup()
    await asyncio.to_thread(lines.close)


def events(text: str) -> list[tuple[str, Any]]:
    found = []
    for block in text.strip().split("\n\n"):
        if block.startswith(":"):
            found.append(("", block))
            continue
        kind, data = block.split("\n")
        found.append((kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


async def fetch(url: str) -> tuple[int, str, Any]:
    key = {"Idempotency-Key": "key"}
    async with aiohttp.ClientSession() as http, http.post(url, headers=key) as answer:
        return answer.status, await answer.text(), answer.headers


@pytest.fixture(params=["without a key", "with a key"])
async def once(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Once | None]:
    """What looks at the key; None when nobody does."""
    if request.param == "without a key":
        yield None
        return
    store = await asyncio.to_thread(open_store, f"sqlite:{tmp_path / 'store.db'}")
    errands = Errands()
    made = Once(store, PoolKeys("default", "default"), errands, lambda: 60.0)
    yield made
    await errands.close(5.0)
    await made.close()
    await store.close()


async def test_chunks_logs_and_the_result_are_events() -> None:
    async def script() -> AsyncIterator[StreamEvent]:
        yield Chunk("x-1", b'{"a":\r\n 1}')
        yield Log("x-1", "stdout", "two\nlines\n")
        yield Chunk("x-1", b'"nan\\nan Infinity"')
        yield ANSWER

    async with serve(script) as (url, _, _):
        status, text, headers = await fetch(url)
    assert status == 200
    assert headers["Content-Type"] == "text/event-stream"
    assert headers["X-AnyPod-Execution"] == "x-1"
    assert headers["X-AnyPod-Revision"] == "r" * 64
    found = events(text)
    assert found[:3] == [
        ("chunk", {"a": 1}),
        ("log", {"stream": "stdout", "text": "two\nlines\n"}),
        ("chunk", "nan\nan Infinity"),
    ]
    kind, result = found[3]
    assert kind == "result"
    assert result["outputs"] is None
    assert result["execution"]["worker"] == "w1"


async def test_a_failure_at_once_is_an_ordinary_problem(once: Once | None) -> None:
    async def script() -> AsyncIterator[StreamEvent]:
        raise error("queue-full", "no", retry_after=2)
        yield ANSWER

    async with serve(script, once=once) as (url, _, _):
        status, text, headers = await fetch(url)
    assert status == 429
    assert headers["Content-Type"] == "application/problem+json"
    assert headers["Retry-After"] == "2"
    assert json.loads(text)["type"] == "queue-full"


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (error("program-error", "it raised", execution="x-1"), ("program-error", 500)),
        (error("worker-lost", "it died", execution="x-1"), ("worker-lost", 502)),
        (StoreUnavailable("it did not answer"), ("store-unavailable", 503)),
    ],
)
async def test_a_later_failure_is_the_last_event(
    once: Once | None, failure: Exception, told: tuple[str, int]
) -> None:
    async def script() -> AsyncIterator[StreamEvent]:
        yield Chunk("x-1", b"1")
        await asyncio.sleep(0.1)  # its caller has read that
        raise failure

    async with serve(script, once=once) as (url, _, _):
        status, text, _ = await fetch(url)
    assert status == 200
    (_, one), (kind, problem) = events(text)
    assert (one, kind) == (1, "problem")
    assert (problem["type"], problem["status"]) == told


async def test_a_fault_of_ours_is_told_as_one_and_no_more(
    once: Once | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def script() -> AsyncIterator[StreamEvent]:
        yield Chunk("x-1", b"1")
        await asyncio.sleep(0.1)
        raise KeyError("hush")

    async with serve(script, once=once) as (url, _, _):
        _, text, _ = await fetch(url)
    assert events(text)[-1][1]["type"] == "internal-error"
    assert "hush" not in text
    assert "hush" in caplog.text


async def test_while_nothing_happens_there_are_heartbeats() -> None:
    go_on = asyncio.Event()

    async def script() -> AsyncIterator[StreamEvent]:
        await go_on.wait()
        yield ANSWER

    async with (
        serve(script, heartbeat=0.02) as (url, _, _),
        aiohttp.ClientSession() as http,
        http.post(url) as answer,
    ):
        assert answer.status == 200  # before there is any event
        assert (await answer.content.readline()).startswith(b":")
        go_on.set()
        assert events(await answer.text())[-1][0] == "result"


async def test_a_client_that_leaves_stops_the_program() -> None:
    async def script() -> AsyncIterator[StreamEvent]:
        yield Chunk("x-1", b"1")
        await asyncio.sleep(60)
        yield ANSWER

    async with serve(script) as (url, pool, life):
        async with aiohttp.ClientSession() as http, http.post(url) as answer:
            await answer.content.readline()
            answer.close()
        await asyncio.wait_for(pool.closed.wait(), 10)
        assert await life.idle(10)


async def test_a_client_that_leaves_before_the_first_event_stops_the_program() -> None:
    begun = asyncio.Event()

    async def script() -> AsyncIterator[StreamEvent]:
        begun.set()
        await asyncio.sleep(60)
        yield ANSWER

    async with serve(script) as (url, pool, life):
        async with aiohttp.ClientSession() as http:
            asking = asyncio.ensure_future(http.post(url))
            await asyncio.wait_for(begun.wait(), 10)
            asking.cancel()
            await asyncio.wait({asking})
        await asyncio.wait_for(pool.closed.wait(), 10)
        assert await life.idle(10)


async def test_a_client_that_does_not_read_holds_the_program_back() -> None:
    sent = 0
    chunk = Chunk("x-1", b'"' + b"a" * 64_000 + b'"')
    total = 2000

    async def script() -> AsyncIterator[StreamEvent]:
        nonlocal sent
        for _ in range(total):
            yield chunk
            sent += 1
        yield ANSWER

    async with serve(script) as (url, _, _):
        async with (
            aiohttp.ClientSession(read_bufsize=2**14) as http,
            http.post(url) as answer,
        ):
            await answer.content.readline()
            before = -1
            while sent != before:
                before = sent
                await asyncio.sleep(0.2)
            # What the sockets' buffers take is not bounded by us, but it is far from all.
            assert sent < total // 2
            size = 0
            async for part in answer.content.iter_any():
                size += len(part)
        assert sent == total
        assert size > total * 64_000


async def test_a_client_that_never_reads_is_dropped_after_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("anypod_gateway.handlers.streams.FLUSH_SECONDS", 0.1)

    async def script() -> AsyncIterator[StreamEvent]:
        while True:
            yield Chunk("x-1", b'"' + b"a" * 64_000 + b'"')

    async with (
        serve(script, seconds=0.2) as (url, pool, life),
        aiohttp.ClientSession(read_bufsize=2**14) as http,
        http.post(url) as answer,
    ):
        await asyncio.wait_for(pool.closed.wait(), 10)
        assert await life.idle(10)
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
