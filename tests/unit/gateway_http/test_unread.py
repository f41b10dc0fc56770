"""Answers that their clients do not read."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from aiohttp import web

from anypod_gateway import connections, unread

PATIENCE = 20.0
LARGE = 24_000_000
"""Much more than the kernel's buffers take."""
PIECE = 64 * 1024


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    """Its port."""

    async def whole(request: web.Request) -> web.StreamResponse:
        return web.Response(body=bytes(int(request.query["size"])))

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(int(request.query["size"]) // PIECE):
            await response.write(bytes(PIECE))
        await response.write_eof()
        return response

    app = web.Application()
    app.router.add_get("/whole", whole)
    app.router.add_get("/stream", stream)
    runner = web.AppRunner(app)
    await runner.setup()
    sock = socket.create_server(("127.0.0.1", 0))
    server = await connections.listen(runner, sock)
    try:
        yield sock.getsockname()[1]
    finally:
        server.close()
        await runner.cleanup()


@asynccontextmanager
async def asked(port: int, path: str, size: int = LARGE) -> AsyncIterator[socket.socket]:
    """By a client that has not read anything yet."""
    loop = asyncio.get_running_loop()
    with closing(socket.socket()) as client:
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", port))
        head = f"GET {path}?size={size} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        await loop.sock_sendall(client, head.encode())
        yield client


async def read(client: socket.socket, pause: float = 0.0, most: int = 2**20) -> int:
    """Bytes to its end. Raises ConnectionResetError for one that was dropped."""
    loop, size = asyncio.get_running_loop(), 0
    async with asyncio.timeout(PATIENCE):
        while data := await loop.sock_recv(client, most):
            size += len(data)
            await asyncio.sleep(pause)
    return size


async def test_a_client_that_reads_nothing_of_its_answer_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unread, "UNREAD_SECONDS", 0.2)
    async with serving() as port, asked(port, "/whole") as client:
        await asyncio.sleep(0.5)
        with pytest.raises(ConnectionResetError):
            await read(client)


async def test_a_client_that_reads_slowly_gets_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread, "UNREAD_SECONDS", 1.0)
    async with serving() as port, asked(port, "/whole") as client:
        assert await read(client, pause=0.1) > LARGE


async def test_what_a_handler_writes_waits_as_long_as_it_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unread, "UNREAD_SECONDS", 0.1)
    async with serving() as port, asked(port, "/stream") as client:
        await asyncio.sleep(0.5)
        assert await read(client) > LARGE - PIECE


async def test_where_too_much_waits_who_has_kept_most_for_longest_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "most_unread", lambda: unread.COPIES * (2 * LARGE - 1))
    async with (
        serving() as port,
        asked(port, "/whole", LARGE // 2) as small,
        asked(port, "/whole") as large,
    ):
        await asyncio.sleep(0.2)
        async with asked(port, "/whole") as newest:
            await asyncio.sleep(0.1)
            assert await read(newest) > LARGE
        with pytest.raises(ConnectionResetError):
            await read(large)
        assert await read(small) > LARGE // 2


async def test_one_answer_alone_may_be_larger_than_what_may_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "most_unread", lambda: PIECE)
    async with serving() as port, asked(port, "/whole") as client:
        await asyncio.sleep(0.1)
        assert await read(client) > LARGE


@pytest.mark.parametrize("said", ["max\n", "600000000\n", None])
def test_what_may_wait_is_a_part_of_the_memory_that_there_is(
    said: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limit = tmp_path / "memory.max"
    if said is not None:
        limit.write_text(said)
    monkeypatch.setattr(unread, "_LIMITS", (limit,))
    if said == "600000000\n":
        assert unread.most_unread() == 300_000_000
    else:
        assert unread.most_unread() > 300_000_000
