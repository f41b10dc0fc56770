"""The one middleware: each layer costs, so what every request needs is done here at once.

It refuses foreign hosts, turns every failure into a problem document, counts and logs.
"""

import asyncio
import logging
from time import perf_counter
from typing import Protocol

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from anypod.api.problems import AnyPodError, error
from anypod_gateway import answers
from anypod_gateway.access_log import CLIENT_LEFT, AccessLog
from anypod_gateway.calls import CALL, Call
from anypod_gateway.failures import problem_of
from anypod_gateway.lifecycle import Lifecycle
from anypod_gateway.metrics import Metrics

log = logging.getLogger(__name__)


class Hosts(Protocol):
    def allows(self, host: str | None) -> bool: ...
    def allows_origin(self, origin: str | None) -> bool: ...


def front(*, hosts: Hosts, metrics: Metrics, access: AccessLog, life: Lifecycle) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = perf_counter()
        call = request[CALL] = Call()
        resource = request.match_info.route.resource
        if resource is not None:
            call.route = resource.canonical
        status = CLIENT_LEFT
        life.begin()
        try:
            response = await _answer(request, handler, call, hosts)
            status = response.status
            if life.draining:
                response.force_close()
        except asyncio.CancelledError:
            call.problem = "client-left"
            raise
        else:
            return response
        finally:
            life.end()
            seconds = perf_counter() - started
            metrics.request(call.route, call.pool, call.problem or "ok", seconds)
            access.note(request.method, status, seconds, call)

    return middleware


async def _answer(
    request: web.Request, handler: Handler, call: Call, hosts: Hosts
) -> web.StreamResponse:
    try:
        headers = request.headers
        if not hosts.allows(headers.get(hdrs.HOST)):
            failure: Exception = _foreign("Host")
        elif not hosts.allows_origin(headers.get(hdrs.ORIGIN)):
            failure = _foreign("Origin")
        else:
            return await handler(request)
    except web.HTTPException as refusal:
        return _of_http(request, refusal, call)
    except Exception as raised:  # noqa: BLE001 - every failure is answered, and logged there
        if isinstance(raised, ConnectionError) and request.transport is None:
            # It wrote to a client that has gone; the cancellation that says so is on its way.
            raise asyncio.CancelledError from None
        failure = raised
    return answers.problem(problem_of(failure, call))


def _foreign(header: str) -> AnyPodError:
    return error(
        "forbidden", f"the {header} is no name of this gateway; see its option --allow-host"
    )


def _of_http(request: web.Request, refusal: web.HTTPException, call: Call) -> web.Response:
    """aiohttp's own refusals."""
    match refusal:
        case web.HTTPMethodNotAllowed():
            allow = ", ".join(sorted({*refusal.allowed_methods, hdrs.METH_OPTIONS}))
            if request.method == hdrs.METH_OPTIONS:
                return web.Response(status=204, headers={hdrs.ALLOW: allow})
            told = error("method-not-allowed", f"the methods are {allow}")
            response = answers.problem(problem_of(told, call))
            response.headers[hdrs.ALLOW] = allow
            return response
        case web.HTTPNotFound():
            told = error("not-found", "there is no such path; see /docs")
        case web.HTTPClientError():
            told = error("bad-request", refusal.reason)
        case _:
            log.error("a handler raised %s", refusal)
            told = error("internal-error", "AnyPod failed; its log says more")
    return answers.problem(problem_of(told, call))
