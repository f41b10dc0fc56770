"""Answers written in one piece: by HTTP's rules, whatever the connection is like."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import closing

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from anypod_gateway import connections, middleware
from anypod_gateway.access_log import AccessLog
from anypod_gateway.hosts import AnyHost
from anypod_gateway.lifecycle import Lifecycle
from anypod_gateway.log_lines import LineWriter
from anypod_gateway.metrics import Metrics
from anypod_gateway.whole import LONGEST, Whole

HEADERS = "Content-Type: application/json\r\nX-AnyPod-Worker: w1\r\n"
PATIENCE = 20.0


@pytest.fixture
async def port() -> AsyncIterator[int]:
    lines = LineWriter(os.open(os.devnull, os.O_WRONLY))
    front = middleware.Front(
        hosts=AnyHost(), metrics=Metrics(), access=AccessLog(lines, "json"), life=Lifecycle()
    )

    async def answer(request: web.Request) -> web.StreamResponse:
        return Whole(HEADERS, b"x" * int(request.match_info["size"]))

    app = web.Application(middlewares=[front.middleware()])
    app.router.add_post("/{size}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    sock = socket.create_server(("127.0.0.1", 0))
    server = await connections.listen(runner, sock)
    yield sock.getsockname()[1]
    server.close()
    await runner.cleanup()
    await asyncio.to_thread(lines.close)


def request(size: int, *headers: str, version: str = "1.1") -> bytes:
    lines = [f"POST /{size} HTTP/{version}", "Host: h", "Content-Length: 0", *headers, "", ""]
    return "\r\n".join(lines).encode()


async def read_answer(reader: asyncio.StreamReader) -> tuple[list[str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    length = next(line for line in head if line.lower().startswith("content-length: "))
    return head, await reader.readexactly(int(length.split()[1]))


@pytest.mark.parametrize("size", [0, 1, LONGEST, LONGEST + 1, 3_000_000])
async def test_answers_follow_each_other_on_one_connection(port: int, size: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with closing(writer):
        async with asyncio.timeout(PATIENCE):
            for _ in range(3):
                writer.write(request(size))
                head, body = await read_answer(reader)
                assert head[0] == "HTTP/1.1 200 OK"
                assert "X-AnyPod-Worker: w1" in head
                assert sum(line.startswith("Date: ") for line in head) == 1
                assert len(body) == size


@pytest.mark.parametrize(
    "asked",
    [
        request(5, "Connection: close"),
        request(5, version="1.0"),
        request(LONGEST + 1, "Connection: close"),
    ],
)
async def test_a_connection_that_is_not_to_stay_is_closed(port: int, asked: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with closing(writer):
        async with asyncio.timeout(PATIENCE):
            writer.write(asked)
            head, body = await read_answer(reader)
            assert set(body) == {ord("x")}
            assert await reader.read() == b""
    assert head[0].endswith("200 OK")


async def test_an_old_client_that_wants_to_stay_is_told_that_it_may(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with closing(writer):
        async with asyncio.timeout(PATIENCE):
            for _ in range(2):
                writer.write(request(7, "Connection: keep-alive", version="1.0"))
                head, _ = await read_answer(reader)
                assert "Connection: keep-alive" in head


async def test_an_offered_upgrade_is_passed_over(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with closing(writer):
        async with asyncio.timeout(PATIENCE):
            for _ in range(2):
                writer.write(request(7, "Connection: Upgrade", "Upgrade: h2c"))
                head, body = await read_answer(reader)
                assert (head[0], len(body)) == ("HTTP/1.1 200 OK", 7)


async def test_a_client_that_asks_and_does_not_read_is_read_from_no_more(port: int) -> None:
    """So what waits for it in the gateway is bounded."""
    asked = request(60_000, f"X-Pad: {'x' * 4000}") * 10_000  # more than the kernel's buffers take
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", port))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await loop.sock_sendall(client, asked)
        async with asyncio.timeout(PATIENCE):
            assert (await loop.sock_recv(client, 100)).startswith(b"HTTP/1.1 200 OK")


async def test_a_client_that_leaves_takes_nothing_with_it(port: int) -> None:
    for _ in range(20):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(60_000) * 50)
        writer.transport.abort()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with closing(writer):
        async with asyncio.timeout(PATIENCE):
            writer.write(request(3))
            assert (await read_answer(reader))[1] == b"xxx"


@given(st.binary(max_size=200), st.booleans())
def test_both_forms_say_the_same(body: bytes, closes: bool) -> None:
    answer = Whole(HEADERS, body)
    if closes:
        answer.force_close()
    general = answer.general()
    head, _, content = answer.encode().partition(b"\r\n\r\n")
    lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert content == general.body
    assert {**lines, **general.headers} == lines
    assert (lines.get("Connection") == "close") == (general.keep_alive is False) == closes
