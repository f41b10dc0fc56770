"""Client connections: aiohttp's, but what is no HTTP gets a problem document as well.

Such requests never reach the application, so its middleware cannot answer them.
"""

import asyncio
import logging
import socket

from aiohttp import hdrs, web
from aiohttp.web_protocol import RequestHandler

from anypod.api.problems import problem
from anypod_gateway import answers

log = logging.getLogger(__name__)

KEEPALIVE_SECONDS = 75.0
"""Also the time in which a new connection has to send its first request's head."""
LINGERING_SECONDS = 5.0
"""How long the rest of a refused body is still read, so that the client sees why."""
BACKLOG = 1024

_NO_ACCESS_LOG = logging.getLogger(f"{__name__}.access")
_NO_ACCESS_LOG.disabled = True  # ours is written by the middleware


class Connection(RequestHandler):
    __slots__ = ()

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

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if isinstance(resp, web.HTTPException):  # an Expect that nobody can meet
            resp = _refusal(resp.text or resp.reason)
        return await super().finish_response(request, resp, start_time)


def _refusal(detail: str) -> web.Response:
    return answers.problem(problem("bad-request", detail.splitlines()[0][:300]))


async def listen(runner: web.AppRunner, sock: socket.socket) -> asyncio.Server:
    """Serve ``runner`` (which is set up) on the socket."""
    loop, server = asyncio.get_running_loop(), runner.server
    assert server is not None

    def connect() -> Connection:
        return Connection(
            server,
            loop=loop,
            access_log=_NO_ACCESS_LOG,
            keepalive_timeout=KEEPALIVE_SECONDS,
            lingering_time=LINGERING_SECONDS,
        )

    return await loop.create_server(connect, sock=sock, backlog=BACKLOG)
