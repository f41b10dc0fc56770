"""Client connections: aiohttp's, but what is no HTTP gets a problem document as well.

Such requests never reach the application, so its middleware cannot answer them.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.web_protocol import RequestHandler

from anypod.api.problems import problem
from anypod_gateway import answers
from anypod_gateway.unread import Reader, Unread, most_unread
from anypod_gateway.whole import LONGEST, Whole

log = logging.getLogger(__name__)

KEEPALIVE_SECONDS = 75.0
"""Also the time in which a new connection has to send its first request's head."""
LINGERING_SECONDS = 5.0
"""How long the rest of a refused body is still read, so that the client sees why."""
BACKLOG = 1024

_NO_ACCESS_LOG = logging.getLogger(f"{__name__}.access")
_NO_ACCESS_LOG.disabled = True  # ours is written by the middleware


Entry = Callable[[web.Request], Awaitable[web.StreamResponse]]
BaseEntry = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Connection(RequestHandler):
    __slots__ = ("_reader", "_size", "_unread")

    def __init__(self, server: web.Server, unread: Unread, entry: Entry | None = None) -> None:
        """``entry``: what a request goes to, in place of the server's own handler."""
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=_NO_ACCESS_LOG,
            keepalive_timeout=KEEPALIVE_SECONDS,
            lingering_time=LINGERING_SECONDS,
        )
        self._unread = unread
        self._reader: Reader | None = None
        self._size = 0
        """Of the last answer that was made whole."""
        if entry is not None:
            self._request_handler = cast("BaseEntry", entry)  # the application makes the requests

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.transport is not None:
            self._reader = self._unread.add(self.transport, self._answered)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._has_read()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._has_read()

    def _has_read(self) -> None:
        if self._reader is not None:
            self._unread.remove(self._reader)
            self._reader = None

    def _answered(self) -> int | None:
        """Bytes of the answer that is being sent, unless its handler is writing it."""
        return self._size if self._current_request is None else None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status < 500:
            response = _refusal(f"not an HTTP request: {message or 'malformed'}")
        else:
            log.error("a request failed outside of its handler", exc_info=exc)
            response = answers.problem(problem("internal-error", "AnyPod failed"))
        response.headers[hdrs.CONNECTION] = "close"
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Only what is a fault. A body that is broken has been answered, and is read once more for
        its rest, which raises again: anybody could fill the log with that."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if isinstance(resp, Whole):
            if self._can_write_at_once(request, resp):
                return resp, not self._write(resp)
            resp = resp.general()
        elif isinstance(resp, web.HTTPException):  # an Expect that nobody can meet
            resp = _refusal(resp.text or resp.reason)
        body = resp.body if isinstance(resp, web.Response) else None
        self._size = len(body) if isinstance(body, bytes) else 0
        return await super().finish_response(request, resp, start_time)

    def _can_write_at_once(self, request: web.BaseRequest, answer: Whole) -> bool:
        if request.version != HttpVersion11 or hdrs.UPGRADE in request.headers:
            return False
        if not request.keep_alive:
            answer.force_close()
        transport = self.transport
        waiting = transport.get_write_buffer_size() if transport is not None else 0
        return answer.is_short and waiting <= LONGEST

    def _write(self, answer: Whole) -> bool:
        """Whether the client is still there."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return False
        transport.write(answer.encode())
        return True


def _refusal(detail: str) -> web.Response:
    return answers.problem(problem("bad-request", detail.splitlines()[0][:300]))


async def listen(
    runner: web.AppRunner, sock: socket.socket, entry: Entry | None = None
) -> asyncio.Server:
    """Serve ``runner`` (which is set up) on the socket."""
    server = runner.server
    assert server is not None
    unread = Unread(await asyncio.to_thread(most_unread))
    return await asyncio.get_running_loop().create_server(
        lambda: Connection(server, unread, entry), sock=sock, backlog=BACKLOG
    )
