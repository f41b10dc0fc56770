"""A language model's server, as OpenAI's API has it, for tests: it says what a test scripts.

It runs in a thread with a loop of its own, so that tests may block, and speaks real HTTP: events
with the pace and the pieces that are asked for, refusals, silence, connections that are cut.
What it was asked is kept, with keys and headers, and which requests their callers left.
"""

import asyncio
import json
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

PATIENCE = 30.0
_TICK = 0.02


def chat(**fields: Any) -> str:
    """A reply in the form that DSPy's chat adapter asks for."""
    parts = [
        f"[[ ## {name} ## ]]\n{value if isinstance(value, str) else json.dumps(value)}\n"
        for name, value in fields.items()
    ]
    return "\n".join([*parts, "[[ ## completed ## ]]\n"])


@dataclass(frozen=True)
class Reply:
    """What is said to one request."""

    text: str = ""
    status: int = 200
    retry_after: float | None = None
    code: str = ""
    """Of an error, as ``context_length_exceeded``."""
    message: str = "the model is not well"
    delay: float = 0.0
    """Seconds before anything is said."""
    piece_delay: float = 0.0
    """Seconds between the pieces of a stream."""
    cut_after: int | None = None
    """Break the connection off after so many pieces."""
    prompt_tokens: int = 11
    completion_tokens: int = 7
    finish: str = "stop"
    """Why it has ended."""
    body: bytes | None = None
    """In the place of all that the API says."""
    location: str | None = None
    """Where another one would be asked."""
    piece: int = 4
    """Characters in each piece of a stream."""


@dataclass
class Asked:
    """One request, as it came."""

    key: str
    model: str
    headers: dict[str, str]
    body: dict[str, Any]
    connection: int = 0
    """By the caller's port."""
    left_at: float | None = None
    """By ``time.monotonic``, when the caller went away before it had the whole answer."""

    @property
    def left(self) -> bool:
        return self.left_at is not None

    @property
    def prompt(self) -> str:
        """All that it was told."""
        return "\n".join(_text(message.get("content")) for message in self.body["messages"])

    @property
    def said(self) -> list[str]:
        """What it is told that it has said before, as in demos."""
        messages = self.body["messages"]
        return [_text(one.get("content")) for one in messages if one["role"] == "assistant"]

    @property
    def last(self) -> str:
        return _text(self.body["messages"][-1].get("content"))


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content)
    return str(content or "")


Script = Callable[[Asked], Reply | str]


@dataclass
class LmServer:
    """``script`` says what is said, unless ``then`` has queued something."""

    script: Script = lambda _: chat(answer="42")
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    _queued: deque[Reply] = field(default_factory=deque)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _at_once: int = 0
    most_at_once: int = 0
    stood_still: float = 0.0
    """Seconds, summed, by which this server's thread was late: so long nobody was served here."""
    _loop: asyncio.AbstractEventLoop | None = None
    _server: web.Server | None = None

    @property
    def connections(self) -> set[int]:
        """Over which it was asked."""
        return {asked.connection for asked in self.asked}

    def hang_up(self) -> None:
        """Close all connections, as a provider does with idle ones."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result(PATIENCE)

    async def _hang_up(self) -> None:
        assert self._server is not None
        for connection in self._server.connections:
            assert connection.transport is not None
            connection.transport.close()
        while self._server.connections:
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # the sockets are closed right after

    def then(self, *replies: Reply | str) -> None:
        """Say these next, in their order, to whomever asks."""
        self._queued.extend(Reply(one) if isinstance(one, str) else one for one in replies)

    def clear(self) -> None:
        self.asked.clear()
        self._queued.clear()
        self.most_at_once = 0

    @contextmanager
    def left_within(self, seconds: float, number: int = 0) -> Iterator[None]:
        """That the caller of that request has left so soon after the block began, as far as this
        machine did not stand still meanwhile."""
        began, stood_still = time.monotonic(), self.stood_still
        yield
        self.wait_until(lambda server: server.asked[number].left)
        left_at = self.asked[number].left_at
        assert left_at is not None
        took = left_at - began - (self.stood_still - stood_still)
        assert took < seconds, took

    async def tick(self) -> None:
        """Measure how late this thread is."""
        while True:
            due = time.monotonic() + _TICK
            await asyncio.sleep(_TICK)
            self.stood_still += time.monotonic() - due

    def wait_until(self, holds: Callable[["LmServer"], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: holds(self), PATIENCE), self.asked

    def _note(self) -> None:
        with self._changed:
            self._changed.notify_all()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        assert request.transport is not None
        port = request.transport.get_extra_info("peername")[1]
        asked = Asked(key, body.get("model", ""), dict(request.headers), body, port)
        self.asked.append(asked)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        self._note()
        try:
            return await self._answered(request, asked)
        except (asyncio.CancelledError, ConnectionError):
            asked.left_at = time.monotonic()
            raise
        finally:
            self._at_once -= 1
            self._note()

    async def _answered(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        said = self._queued.popleft() if self._queued else self.script(asked)
        reply = Reply(said) if isinstance(said, str) else said
        await asyncio.sleep(reply.delay)
        if reply.body is not None:
            where = {} if reply.location is None else {"Location": reply.location}
            return web.Response(body=reply.body, status=reply.status, headers=where)
        if reply.status != 200:
            return _refused(reply)
        if asked.body.get("stream"):
            return await _streamed(request, asked, reply)
        if reply.cut_after is not None:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(_completion(asked, reply))


def _refused(reply: Reply) -> web.Response:
    headers = {} if reply.retry_after is None else {"Retry-After": f"{reply.retry_after:g}"}
    error = {"message": reply.message, "type": "error", "code": reply.code or None}
    return web.json_response({"error": error}, status=reply.status, headers=headers)


def _usage(reply: Reply) -> dict[str, int]:
    given, made = reply.prompt_tokens, reply.completion_tokens
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}


def _completion(asked: Asked, reply: Reply) -> dict[str, Any]:
    message = {"role": "assistant", "content": reply.text}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": asked.model,
        "choices": [{"index": 0, "message": message, "finish_reason": reply.finish}],
        "usage": _usage(reply),
    }


async def _streamed(request: web.Request, asked: Asked, reply: Reply) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)

    async def send(delta: dict[str, Any], finish: str | None = None, **more: Any) -> None:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1}
        document = {**chunk, "model": asked.model, "choices": choices, **more}
        await response.write(b"data: " + json.dumps(document).encode() + b"\n\n")

    pieces = [reply.text[n : n + reply.piece] for n in range(0, len(reply.text), reply.piece)]
    for number, piece in enumerate(pieces):
        if reply.cut_after == number:
            assert request.transport is not None
            request.transport.abort()
            raise ConnectionResetError
        await send({"role": "assistant", "content": piece})
        await asyncio.sleep(reply.piece_delay)
    await send({}, reply.finish)
    if (asked.body.get("stream_options") or {}).get("include_usage"):
        last = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1}
        document = {**last, "model": asked.model, "choices": [], "usage": _usage(reply)}
        await response.write(b"data: " + json.dumps(document).encode() + b"\n\n")
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


@contextmanager
def lm_server(
    script: Script | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[LmServer]:
    """Its ``url`` is an ``apiBase``; it serves until the block ends."""
    server = LmServer() if script is None else LmServer(script)
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        app = web.Application(client_max_size=16 * 2**20)
        app.router.add_post("/v1/chat/completions", server.answer)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        scheme = "http" if tls is None else "https"
        server._loop, server._server = loop, runner.server
        server.url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}/v1"
        ticking = asyncio.create_task(server.tick())
        ready.set()
        await stop.wait()
        ticking.cancel()
        await runner.cleanup()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(serve())
        loop.close()

    thread = threading.Thread(target=run, name="lm-server")
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE)
