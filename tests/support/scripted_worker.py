"""A worker that does exactly what a test says: for what a real one does too rarely, or never.

It speaks the wire over a real WebSocket. The test reads what the gateway sent and decides what,
when and whether to answer.
"""

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from aiohttp import WSMsgType, web

from anypod.wire import codec
from anypod.wire.messages import (
    Execute,
    GatewayHello,
    Load,
    Message,
    Refused,
    Result,
    ToWorker,
    WorkerHello,
)

PATIENCE = 20.0
M = TypeVar("M", bound=Message)
_instances = itertools.count(1)


def load(*, ready: bool = True, draining: bool = False, busy: int = 0, **more: Any) -> Load:
    values: dict[str, Any] = {"idle": 1, "sessions": 0, "busy_sessions": 0, "restarts": {}}
    return Load(ready=ready, draining=draining, busy=busy, **{**values, **more})


class ScriptedWorker:
    def __init__(self, name: str, pool: str, executors: int, hello: dict[str, Any]) -> None:
        self.name = name
        self.pool = pool
        self.executors = executors
        self.port = 0
        self.instance = f"{name}-{next(_instances)}"
        self.received: deque[ToWorker] = deque()
        """What has come and was not asked for yet."""
        self.handshakes: list[dict[str, str]] = []
        """Headers of each connection."""
        self.greetings: list[GatewayHello] = []
        self.close_codes: list[int | None] = []
        self.redirects: tuple[int, str] | None = None
        """To where each connection is sent, and with which status."""
        self.speaks = True
        """Says hello and how it is, when a gateway has."""
        self.reads = asyncio.Event()
        """Cleared, it takes nothing from its socket after what is under way."""
        self.reads.set()
        self._hello = hello
        self._news = asyncio.Condition()
        self._socket: web.WebSocketResponse | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.redirects is not None:
            status, location = self.redirects
            return web.Response(status=status, headers={"Location": location})
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        self.handshakes.append(dict(request.headers))
        self._socket = socket
        if self.speaks:
            await self.send(self.hello(), load())
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                await self._take(codec.decode_for_worker(message.data))
            await self.reads.wait()
        self.close_codes.append(socket.close_code)
        async with self._news:
            self._news.notify_all()
        return socket

    def hello(self) -> WorkerHello:
        known: dict[str, Any] = {
            "worker": self.name,
            "instance": self.instance,
            "pool": self.pool,
            "version": "test",
            "executors": self.executors,
            "max_sessions": 8,
            "max_body_bytes": codec.MAX_BODY_BYTES,
        }
        return WorkerHello(**{**known, **self._hello})

    async def _take(self, batch: list[ToWorker]) -> None:
        self.greetings.extend(m for m in batch if isinstance(m, GatewayHello))
        self.received.extend(m for m in batch if not isinstance(m, GatewayHello))
        async with self._news:
            self._news.notify_all()

    async def until(self, what: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(what)

    async def next(self, kind: type[M]) -> M:
        """The next message of that kind; others before it are dropped."""
        while True:
            await self.until(lambda: self.received)
            message = self.received.popleft()
            if isinstance(message, kind):
                return message

    async def send(self, *messages: Message) -> None:
        await self.send_bytes(codec.encode(messages))

    async def send_bytes(self, data: bytes) -> None:
        assert self._socket is not None
        await self._socket.send_bytes(data)

    async def answer(self, execute: Execute, outputs: bytes = b"null", **more: Any) -> None:
        await self.send(Result(id=execute.id, run_seconds=0.0, outputs=outputs, **more))

    async def refuse(self, execute: Execute, reason: Any) -> None:
        await self.send(Refused(execute.id, reason))

    async def close(self, code: int) -> None:
        """What the gateway has sent meanwhile is never looked at."""
        assert self._socket is not None
        await self._socket.close(code=code)

    def drop(self) -> None:
        """The connection breaks without a word."""
        assert self._socket is not None
        request = self._socket._req
        assert request is not None
        assert request.transport is not None
        request.transport.abort()


@contextlib.asynccontextmanager
async def scripted_worker(
    name: str = "w1", *, pool: str = "pool", executors: int = 1, port: int = 0, **hello: Any
) -> AsyncIterator[ScriptedWorker]:
    worker = ScriptedWorker(name, pool, executors, hello)
    app = web.Application()
    app.add_routes([web.get(codec.LINK_PATH, worker.handle)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    worker.port = runner.addresses[0][1]
    try:
        yield worker
    finally:
        await runner.cleanup()
