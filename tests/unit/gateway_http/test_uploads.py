"""Lines of an upload: numbered as they are sent, and an end to those that never come."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from anypod.api.problems import AnyPodError
from anypod_gateway import uploads

LONGEST = 20
Handler = Callable[[web.Request], Coroutine[Any, Any, web.Response]]


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(handler))  # type: ignore[arg-type]
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def read(request: web.Request) -> web.Response:
    try:
        found = [[number, line and line.decode()] async for number, line in lines_of(request)]
    except AnyPodError as failure:
        return web.json_response(failure.problem.detail, status=failure.status)
    return web.json_response(found)


def lines_of(request: web.Request) -> Any:
    return uploads.lines(request, LONGEST)


async def test_lines_have_the_numbers_of_their_places() -> None:
    data = b"first\n\n  \n" + b"x" * 50 + b"\nlast"
    async with served(read) as url, aiohttp.request("POST", url, data=data) as answer:
        assert await answer.json() == [[0, "first"], [3, None], [4, "last"]]


async def test_an_upload_that_is_silent_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "SILENT_SECONDS", 0.05)
    ended = asyncio.Event()

    async def upload() -> AsyncIterator[bytes]:
        yield b"first\nsec"
        await ended.wait()

    async with served(read) as url, aiohttp.request("POST", url, data=upload()) as answer:
        said = await answer.json()
        ended.set()
        assert answer.status == 400
    assert said == "the upload has been silent for 0.05 seconds"
