"""The way of a run past the router, whose look at the path costs as much as running the program.

Only the plain form of the one path is taken; everything else, with all its special cases, goes the
general way, which leads to the same handler.
"""

import re

from aiohttp import hdrs, web

from anypod_gateway.connections import BaseEntry, Entry
from anypod_gateway.handlers.runs import run_named, run_program
from anypod_gateway.middleware import Front
from anypod_gateway.routes import TABLE
from anypod_gateway.services import SERVICES

_ROUTE = next(route for route in TABLE if route.handler is run_program)
_PLAIN = re.compile(r"/v1/pools/([A-Za-z0-9._@-]+)/programs/([A-Za-z0-9._@-]+)/run")


def past_router(app: web.Application, front: Front, general: BaseEntry) -> Entry:
    """``general`` is the application's own entry, for all but plain runs."""

    async def enter(request: web.Request) -> web.StreamResponse:
        found = _PLAIN.fullmatch(request.rel_url.raw_path)
        if found is None or request.method != hdrs.METH_POST or hdrs.EXPECT in request.headers:
            return await general(request)
        pool, program = found.groups()

        async def run(request: web.Request) -> web.StreamResponse:
            return await run_named(request, app[SERVICES], pool, program)

        return await front.serve(request, _ROUTE.path, run, _ROUTE.needs, pool)

    return enter
