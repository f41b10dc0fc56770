"""The gate is shut when in doubt: without keys, and where no verb is declared."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from anypod_gateway import connections, middleware
from anypod_gateway.access_log import AccessLog
from anypod_gateway.callers.gate import Gate
from anypod_gateway.callers.keys import ApiKeys
from anypod_gateway.hosts import AnyHost
from anypod_gateway.lifecycle import Lifecycle
from anypod_gateway.log_lines import LineWriter
from anypod_gateway.metrics import Metrics

KEY = "key-of-these-tests-0123456789"
NARROW = '{"key": "narrow-key-of-these-tests", "verbs": ["read", "run", "write"]}'


async def opened(request: web.Request) -> web.Response:
    return web.Response(text="open")


async def read(request: web.Request) -> web.Response:
    return web.Response(text="read")


async def forgotten(request: web.Request) -> web.Response:
    return web.Response(text="forgotten")


@pytest.fixture
async def gate() -> Gate:
    return Gate(Metrics())


@pytest.fixture
async def url(gate: Gate) -> AsyncIterator[str]:
    null = os.open(os.devnull, os.O_WRONLY)
    lines = LineWriter(null)
    front = middleware.Front(
        hosts=AnyHost(),
        metrics=Metrics(),
        access=AccessLog(lines, "json"),
        life=Lifecycle(),
        gate=gate,
        needs={opened: "open", read: "read"},
    )
    app = web.Application(middlewares=[front.middleware()])
    app.router.add_get("/open", opened)
    app.router.add_get("/{pool}/read", read)
    app.router.add_get("/{pool}/forgotten", forgotten)
    runner = web.AppRunner(app)
    await runner.setup()
    sock = socket.create_server(("127.0.0.1", 0))
    server = await connections.listen(runner, sock)
    yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    server.close()
    await runner.cleanup()
    await asyncio.to_thread(lines.close)
    os.close(null)


async def ask(url: str, key: str) -> int:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as answer:
        return answer.status


async def test_without_keys_and_tokens_only_what_is_open_is(url: str) -> None:
    assert await ask(f"{url}/open", "") == 200
    assert await ask(f"{url}/p/read", "") == 401
    assert await ask(f"{url}/p/read", KEY) == 401


async def test_a_route_that_declares_nothing_is_for_administrators(
    url: str, gate: Gate, tmp_path: Path
) -> None:
    (tmp_path / "all").write_text(KEY)
    (tmp_path / "narrow").write_text(NARROW)
    keys = ApiKeys(tmp_path)
    await asyncio.to_thread(keys.read)
    gate.keys = keys
    assert await ask(f"{url}/p/read", "narrow-key-of-these-tests") == 200
    assert await ask(f"{url}/p/forgotten", "narrow-key-of-these-tests") == 403
    assert await ask(f"{url}/p/forgotten", KEY) == 200
