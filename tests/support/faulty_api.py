"""A way to the API on which things go wrong when told so: refusals, silence, cut connections."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web
from tests.support.tcp_proxy import accept_no_more

Fits = Callable[[str, str], bool]
"""Of a request's method and path."""


@dataclass
class _Fault:
    fits: Fits
    status: int
    left: int
    headers: dict[str, str]


class FaultyApi:
    """Passes everything on, until a fault is asked for. Usable from any thread."""

    def __init__(self, target: str) -> None:
        self.url = ""
        self.failed = 0
        """Requests that were answered by a fault."""
        self.is_away = False
        """Every request's connection is cut."""
        self.page = b""
        """What every request but a watch is answered with, as by a proxy that wants a login."""
        self._target = target
        self._faults: list[_Fault] = []
        self._silent = asyncio.Event()
        self._gone: set[str] = set()

    def fail(self, fits: Fits, status: int, times: int, **headers: str) -> None:
        """The next so many requests that fit are refused, and do not reach the API."""
        self._faults.append(_Fault(fits, status, times, headers))

    def silence_watches(self) -> None:
        """Streams that are open tell nothing more, and stay open; new ones work."""
        self._silent.set()
        self._silent = asyncio.Event()

    def end_history(self) -> None:
        """Each watch is told once that what it has seen is too old: 410."""
        self._gone = {"all"}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.is_away:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if self.page and "watch" not in request.query:
            return web.Response(body=self.page, content_type="text/html")
        for fault in self._faults:
            if fault.left and fault.fits(request.method, request.path):
                fault.left -= 1
                self.failed += 1
                return _refusal(fault)
        headers = {k: v for k, v in request.headers.items() if k not in ("Host", "Content-Length")}
        async with self._client.request(
            request.method,
            self._target + request.path_qs,
            headers=headers,
            data=await request.read() or None,
            skip_auto_headers=["Content-Type"],
            ssl=False,
        ) as answer:
            return await self._pass_on(request, answer)

    async def _pass_on(
        self, request: web.Request, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        watches = "watch" in request.query
        kept = ("Content-Type", "Retry-After")
        response = web.StreamResponse(
            status=answer.status, headers={k: v for k, v in answer.headers.items() if k in kept}
        )
        silent = self._silent
        with contextlib.suppress(ConnectionError, aiohttp.ClientError):
            await response.prepare(request)
            async for line in answer.content:
                if watches and silent.is_set():
                    continue
                if watches and self.is_away:
                    break
                if watches and "all" in self._gone and request.path not in self._gone:
                    self._gone.add(request.path)
                    await response.write(_GONE)
                    break
                await response.write(line)
            await response.write_eof()
        return response

    async def serve(self, started: threading.Event, stop: asyncio.Event) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(timeout=timeout, read_bufsize=2**22) as self._client:
            app = web.Application(client_max_size=2**26)
            app.router.add_route("*", "/{path:.*}", self.handle)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            assert runner.server is not None
            loop = asyncio.get_running_loop()
            server = await loop.create_server(runner.server, "127.0.0.1", 0)
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            started.set()
            await stop.wait()
            await accept_no_more(server)
            server.close()
            await runner.cleanup()


_GONE = (
    json.dumps(
        {
            "type": "ERROR",
            "object": {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "message": "too old resource version",
                "reason": "Expired",
                "code": 410,
            },
        }
    ).encode()
    + b"\n"
)


def _refusal(fault: _Fault) -> web.Response:
    document: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": f"the test says {fault.status}",
        "reason": "Test",
        "code": fault.status,
    }
    return web.json_response(document, status=fault.status, headers=fault.headers)


@contextmanager
def faulty_api(target: str) -> Iterator[FaultyApi]:
    """In a thread of its own."""
    proxy, started, stop = FaultyApi(target), threading.Event(), asyncio.Event()
    runner = asyncio.Runner()
    loop = runner.get_loop()

    def serve() -> None:
        with runner:  # which ends what a stream still waits for
            runner.run(proxy.serve(started, stop))

    thread = threading.Thread(target=serve)
    thread.start()
    assert started.wait(30)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
