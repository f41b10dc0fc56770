"""The one middleware: each layer costs, so what every request needs is done here at once.

It refuses foreign hosts and unknown callers, turns every failure into a problem document, counts
and logs.
"""

import asyncio
import logging
from collections.abc import Mapping
from time import perf_counter
from types import MappingProxyType
from typing import Protocol

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from anypod.api.problems import AnyPodError, error
from anypod_gateway import answers, requests
from anypod_gateway.access_log import CLIENT_LEFT, AccessLog
from anypod_gateway.callers.gate import Gate, Unauthenticated
from anypod_gateway.callers.rights import Needs
from anypod_gateway.calls import CALL, Call
from anypod_gateway.failures import problem_of
from anypod_gateway.lifecycle import Lifecycle
from anypod_gateway.metrics import Metrics

log = logging.getLogger(__name__)


class Hosts(Protocol):
    def allows(self, host: str | None) -> bool: ...
    def allows_origin(self, origin: str | None) -> bool: ...


class Front:
    def __init__(
        self,
        *,
        hosts: Hosts,
        metrics: Metrics,
        access: AccessLog,
        life: Lifecycle,
        gate: Gate | None = None,
        needs: Mapping[Handler, Needs] = MappingProxyType({}),
        queries: Mapping[tuple[str, str], Mapping[str, bool]] = MappingProxyType({}),
    ) -> None:
        """``gate``: None lets everybody do everything; ``needs``: of each handler; ``queries``: the
        names that may stand in a query, by method and route, and which of them twice."""
        self._hosts = hosts
        self._gate = gate
        self._needs = needs
        self._queries = queries
        self._metrics = metrics
        self._access = access
        self._life = life

    def middleware(self) -> Middleware:
        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            found = request.match_info
            resource = found.route.resource
            if resource is None:  # there is no such path or method, which is no secret
                return await self.serve(request, "", handler, "open", None)
            needs = self._needs.get(found.handler, "admin")
            return await self.serve(request, resource.canonical, handler, needs, found.get("pool"))

        return middleware

    async def serve(
        self, request: web.Request, route: str, handler: Handler, needs: Needs, pool: str | None
    ) -> web.StreamResponse:
        """``route``: the path's template; ``pool``: as the client names it, if the path does."""
        started = perf_counter()
        call = request[CALL] = Call()
        call.route = route
        status = CLIENT_LEFT
        self._life.begin()
        try:
            response = await self._answer(request, handler, call, needs, pool)
            status = response.status
            if self._life.draining:
                response.force_close()
        except asyncio.CancelledError:
            call.problem = "client-left"
            raise
        else:
            return response
        finally:
            self._life.end()
            seconds = perf_counter() - started
            self._metrics.request(route, call.pool, call.problem or "ok", seconds)
            self._access.note(request.method, status, seconds, call)

    async def _answer(
        self, request: web.Request, handler: Handler, call: Call, needs: Needs, pool: str | None
    ) -> web.StreamResponse:
        try:
            headers = request.headers
            if not self._hosts.allows(headers.get(hdrs.HOST)):
                failure: Exception = _foreign("Host")
            elif not self._hosts.allows_origin(headers.get(hdrs.ORIGIN)):
                failure = _foreign("Origin")
            else:
                if self._gate is not None and needs != "open":
                    await self._gate.admit(request, call, needs, pool)
                if request.query_string:
                    self._check_query(request, call.route)
                return await handler(request)
        except web.HTTPException as refusal:
            return _of_http(request, refusal, call)
        except Unauthenticated as refused:
            response = answers.problem(problem_of(refused, call))
            response.headers[hdrs.WWW_AUTHENTICATE] = refused.challenge
            return response
        except Exception as raised:  # noqa: BLE001 - every failure is answered, and logged there
            if isinstance(raised, ConnectionError) and request.transport is None:
                # It wrote to a client that has gone; the cancellation that says so is on its way.
                raise asyncio.CancelledError from None
            failure = raised
        return answers.problem(problem_of(failure, call))

    def _check_query(self, request: web.Request, route: str) -> None:
        known = self._queries.get((request.method, route))
        if known is not None:
            requests.check_query(request.query, known)


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
