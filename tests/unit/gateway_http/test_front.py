"""What holds for every request, whatever its handler does: problems, hosts, counts, log lines."""

import asyncio
import io
import json
import logging
import os
import socket
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from anypod.api.problems import TABLE, error
from anypod.store.kv import StoreUnavailable, ValueTooLarge
from anypod_gateway import connections, middleware, requests
from anypod_gateway.access_log import AccessLog
from anypod_gateway.calls import CALL
from anypod_gateway.hosts import LoopbackHosts
from anypod_gateway.lifecycle import Lifecycle
from anypod_gateway.log_lines import LineWriter
from anypod_gateway.metrics import Metrics

LIMIT = 2_000_000


@dataclass
class Front:
    port: int
    life: Lifecycle
    metrics: Metrics
    log: LineWriter
    log_pipe: int
    cancelled: asyncio.Event
    entered: asyncio.Event
    http: aiohttp.ClientSession

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any, Any]:
        async with self.http.request(
            method, f"http://127.0.0.1:{self.port}{path}", **options
        ) as answer:
            body = await answer.read()
            return answer.status, json.loads(body) if body else None, answer.headers

    async def raw(self, *parts: bytes, until_close: bool = True) -> bytes:
        """Bytes as they are, and what comes back until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for part in parts:
            writer.write(part)
            await writer.drain()
        try:
            return await asyncio.wait_for(reader.read(), 10) if until_close else b""
        finally:
            writer.close()

    async def read_log(self) -> list[dict[str, Any]]:
        await asyncio.to_thread(self.log.flush)
        text = await asyncio.to_thread(os.read, self.log_pipe, 1 << 20)
        return [json.loads(line) for line in text.splitlines()]

    def outcomes(self) -> dict[tuple[str, str], float]:
        return {
            (sample.labels["pool"], sample.labels["outcome"]): sample.value
            for metric in self.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == "anypod_requests_total"
        }


def raising(failure: BaseException) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handler(request: web.Request) -> web.Response:
        raise failure

    return handler


@asynccontextmanager
async def serve() -> AsyncIterator[Front]:
    reading, writing = os.pipe()
    lines, life, metrics = LineWriter(writing), Lifecycle(), Metrics()
    cancelled, entered = asyncio.Event(), asyncio.Event()

    async def echo(request: web.Request) -> web.Response:
        request[CALL].pool = "default"
        body = await requests.read_body(request, LIMIT, float(request.query.get("seconds", "60")))
        return web.Response(body=msgspec.json.encode({"length": len(body)}))

    async def wait(request: web.Request) -> web.Response:
        entered.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return web.Response()

    app = web.Application(
        middlewares=[
            middleware.Front(
                hosts=LoopbackHosts(["box.example"]),
                metrics=metrics,
                access=AccessLog(lines, "json"),
                life=life,
            ).middleware()
        ]
    )
    app.router.add_get("/items/{name}", echo)
    app.router.add_post("/items/{name}", echo)
    app.router.add_get("/wait", wait)
    app.router.add_get("/bug", raising(KeyError("a secret")))
    app.router.add_get("/store", raising(StoreUnavailable("10.0.0.7 refused")))
    app.router.add_get("/big", raising(ValueTooLarge("x", 5, 4)))
    app.router.add_get("/full", raising(error("queue-full", "no", retry_after=3)))
    app.router.add_get(
        "/lost", raising(error("worker-lost", "no", execution="x-1", worker="w1", attempt=2))
    )
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    sock = socket.create_server(("127.0.0.1", 0))
    server = await connections.listen(runner, sock)

    async with aiohttp.ClientSession() as http:
        yield Front(sock.getsockname()[1], life, metrics, lines, reading, cancelled, entered, http)
    server.close()
    await runner.cleanup()
    await asyncio.to_thread(lines.close)
    os.close(reading)
    os.close(writing)


@pytest.fixture
async def running() -> AsyncIterator[Front]:
    async with serve() as front_door:
        yield front_door


@pytest.mark.parametrize(
    ("method", "path", "type_"),
    [
        ("GET", "/nowhere", "not-found"),
        ("GET", "/items/", "not-found"),
        ("DELETE", "/items/a", "method-not-allowed"),
        ("GET", "/bug", "internal-error"),
        ("GET", "/store", "store-unavailable"),
        ("GET", "/big", "too-large"),
        ("GET", "/full", "queue-full"),
        ("GET", "/lost", "worker-lost"),
    ],
)
async def test_every_failure_is_a_problem_document(
    running: Front, method: str, path: str, type_: str
) -> None:
    status, document, headers = await running.ask(method, path)
    assert headers["Content-Type"] == "application/problem+json"
    assert document["type"] == type_
    assert document["title"] == TABLE[type_].title
    assert document["status"] == status == TABLE[type_].status
    assert running.outcomes() == {("", type_): 1}
    assert (await running.read_log())[0]["problem"] == type_


async def test_what_nobody_foresaw_is_logged_and_not_told(
    running: Front, caplog: pytest.LogCaptureFixture
) -> None:
    _, document, _ = await running.ask("GET", "/bug")
    assert "secret" not in json.dumps(document)
    assert "KeyError: 'a secret'" in caplog.text


async def test_the_stores_address_is_not_told(running: Front) -> None:
    _, document, headers = await running.ask("GET", "/store")
    assert "10.0.0.7" not in json.dumps(document)
    assert headers["Retry-After"] == "1"


async def test_a_problem_says_what_is_known_in_headers_too(running: Front) -> None:
    _, document, headers = await running.ask("GET", "/lost")
    assert document["worker"] == headers["X-AnyPod-Worker"] == "w1"
    assert document["execution"] == headers["X-AnyPod-Execution"] == "x-1"
    assert headers["X-AnyPod-Attempt"] == "2"
    assert (await running.ask("GET", "/full"))[2]["Retry-After"] == "3"


async def test_other_methods_are_told_which_there_are(running: Front) -> None:
    _, _, headers = await running.ask("PATCH", "/items/a")
    assert headers["Allow"] == "GET, HEAD, OPTIONS, POST"
    status, _, headers = await running.ask("OPTIONS", "/items/a")
    assert status == 204
    assert headers["Allow"] == "GET, HEAD, OPTIONS, POST"
    status, body, headers = await running.ask("HEAD", "/items/a")
    assert (status, body) == (200, None)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:1234",
        "LOCALHOST",
        "127.0.0.1:8700",
        "127.1.2.3",
        "[::1]:8700",
        "[::1]",
        "a.localhost",
        "box.example:80",
        "box.example.",
    ],
)
async def test_these_hosts_are_ours(running: Front, host: str) -> None:
    assert (await running.ask("GET", "/items/a", headers={"Host": host}))[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "8.8.8.8", "[::2]", "evil.example:127", "x"]
)
async def test_a_foreign_host_is_refused(running: Front, host: str) -> None:
    status, document, _ = await running.ask("GET", "/items/a", headers={"Host": host})
    assert (status, document["type"]) == (403, "forbidden")


async def test_the_log_has_templates_and_no_names(running: Front) -> None:
    await running.ask("GET", "/items/private?token=hush", headers={"X-Session-ID": "mine"})
    await running.ask("GET", "/elsewhere/private")
    first, second = await running.read_log()
    assert first["path"] == "/items/{name}"
    assert first["pool"] == "default"
    assert first["status"] == 200
    assert second["path"] == ""
    text = json.dumps([first, second])
    assert not any(word in text for word in ("private", "hush", "mine"))


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_may_have_exactly_the_limit(running: Front, chunked: bool) -> None:
    async def parts(size: int) -> AsyncIterator[bytes]:
        for start in range(0, size, 65_536):
            yield b" " * min(65_536, size - start)

    for size, expected in ((LIMIT, 200), (LIMIT + 1, 413)):
        data: Any = parts(size) if chunked else io.BytesIO(b" " * size)
        status, document, _ = await running.ask(
            "POST", "/items/a", data=data, headers={"Content-Type": "application/json"}
        )
        assert status == expected, document
    assert document["type"] == "too-large"
    assert document["limit"] == LIMIT


async def test_a_compressed_body_is_measured_unpacked(running: Front) -> None:
    bomb = zlib.compress(b" " * (LIMIT * 50))
    status, document, _ = await running.ask(
        "POST",
        "/items/a",
        data=bomb,
        headers={"Content-Type": "application/json", "Content-Encoding": "deflate"},
    )
    assert (status, document["type"]) == (413, "too-large")


async def test_a_body_that_cannot_be_unpacked_is_refused_in_one_line(running: Front) -> None:
    status, document, _ = await running.ask(
        "POST",
        "/items/a",
        data=b"no zip",
        headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
    )
    assert (status, document["type"]) == (400, "bad-request")
    assert document["detail"] == "the body is broken: Can not decode content-encoding: gzip"


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=UTF-8", 200),
        ('Application/JSON;charset="utf-8"', 200),
        ("application/json; charset=latin-1", 415),
        ("application/jsonx", 415),
        ("text/plain", 415),
        ("", 415),
    ],
)
async def test_a_body_must_be_json_by_its_type(running: Front, kind: str, status: int) -> None:
    found, document, _ = await running.ask(
        "POST", "/items/a", data=b"{}", headers={"Content-Type": kind}
    )
    assert found == status, document


async def test_a_body_without_a_type_is_refused_and_no_body_needs_none(running: Front) -> None:
    request = b"POST /items/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    assert b" 415 " in await running.raw(request + b"Content-Length: 2\r\n\r\n{}")
    assert b" 200 " in await running.raw(request + b"Content-Length: 0\r\n\r\n")


async def test_a_body_that_does_not_come_is_not_waited_for(running: Front) -> None:
    answer = await running.raw(
        b"POST /items/a?seconds=0.1 HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\n"
        b"Content-Length: 100\r\nConnection: close\r\n\r\n{"
    )
    assert b" 400 " in answer
    assert b"did not arrive" in answer


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"NONSENSE\r\n\r\n",
        b"GET /items/a HTTP/1.1\r\nHost: localhost\r\nX-Big: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nBad Name: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    ],
)
async def test_what_is_no_http_gets_a_problem_too(running: Front, request_bytes: bytes) -> None:
    head, _, body = (await running.raw(request_bytes)).partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert json.loads(body)["type"] == "bad-request"


async def test_a_head_that_does_not_come_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "KEEPALIVE_SECONDS", 0.1)
    async with serve() as running:
        assert await running.raw(b"GET /items/a HTTP/1.1\r\nHost: local") == b""


async def test_a_broken_chunked_body_is_a_bad_request(running: Front) -> None:
    answer = await running.raw(
        b"POST /items/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\n{}\r\nzz\r\n"
    )
    assert b" 400 " in answer
    assert b"bad-request" in answer


async def test_a_client_that_leaves_cancels_its_handler(running: Front) -> None:
    await running.raw(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n", until_close=False)
    await asyncio.wait_for(running.cancelled.wait(), 10)
    assert await running.life.idle(10)
    assert running.outcomes() == {("", "client-left"): 1}
    assert (await running.read_log())[0]["status"] == 499


async def test_a_draining_gateway_closes_connections_after_their_answer(running: Front) -> None:
    _, _, headers = await running.ask("GET", "/items/a")
    assert "Connection" not in headers
    running.life.stop()
    _, _, headers = await running.ask("GET", "/items/a")
    assert headers["Connection"] == "close"


async def test_the_expectation_of_a_continue_is_met(running: Front) -> None:
    answer = await running.raw(
        b"POST /items/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n",
        b"{}",
    )
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    answer = await running.raw(
        b"GET /items/a HTTP/1.1\r\nHost: localhost\r\nExpect: a miracle\r\n"
        b"Connection: close\r\n\r\n"
    )
    assert b" 400 " in answer
    assert b"bad-request" in answer


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "http://127.0.0.1", "https://box.example"]
)
async def test_a_page_of_this_machine_may_call(running: Front, origin: str) -> None:
    assert (await running.ask("POST", "/items/a", headers={"Origin": origin}))[0] == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example"]
)
async def test_a_page_from_elsewhere_runs_nothing(running: Front, origin: str) -> None:
    """A browser sends it such a POST without asking, and a program may need no inputs."""
    status, document, _ = await running.ask("POST", "/items/a", headers={"Origin": origin})
    assert (status, document["type"]) == (403, "forbidden")


BROKEN_BODIES = {
    "gzip": (b"Content-Encoding: gzip\r\nContent-Length: 14", b"no gzip at all"),
    "deflate": (b"Content-Encoding: deflate\r\nContent-Length: 10", b"no deflate"),
    "chunks": (b"Transfer-Encoding: chunked", b"zz\r\nof no size\r\n"),
    "gzip in chunks": (
        b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked",
        b"4\r\nnope\r\n0\r\n\r\n",
    ),
}


@pytest.mark.parametrize("path", [b"/nowhere", b"/items/x"])
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("what", BROKEN_BODIES)
async def test_a_broken_body_is_answered_and_is_no_fault_of_ours(
    what: str, at_once: bool, path: bytes, running: Front, caplog: pytest.LogCaptureFixture
) -> None:
    headers, body = BROKEN_BODIES[what]
    head = b"POST %s?seconds=0.2 HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n" % (path, headers)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    with closing(writer):
        for part in [head + body] if at_once else [head, body]:
            writer.write(part)
            await asyncio.sleep(0.02)
        async with asyncio.timeout(10):
            status = int((await reader.readuntil(b"\r\n")).split()[1])
            writer.write_eof()
            await reader.read()
    assert status in {400, 404}
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
