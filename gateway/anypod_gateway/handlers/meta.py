"""What a gateway says of itself: probes, metrics, and the description of its API."""

from aiohttp import web

from anypod_gateway.docs_page import CONTENT_POLICY
from anypod_gateway.metrics import CONTENT_TYPE as METRICS_TYPE
from anypod_gateway.services import SERVICES

_TEXT = "text/plain"


async def healthz(request: web.Request) -> web.Response:
    """The loop turns; nothing else is asked."""
    return web.Response(text="ok\n", content_type=_TEXT)


async def readyz(request: web.Request) -> web.Response:
    reason = request.app[SERVICES].not_ready()
    if reason is None:
        return web.Response(text="ready\n", content_type=_TEXT)
    return web.Response(status=503, text=f"{reason}\n", content_type=_TEXT)


async def metrics(request: web.Request) -> web.Response:
    body = request.app[SERVICES].metrics.expose()
    return web.Response(body=body, headers={"Content-Type": METRICS_TYPE})


async def openapi_json(request: web.Request) -> web.Response:
    body = await request.app[SERVICES].description.document()
    return web.Response(body=body, content_type="application/json")


async def docs(request: web.Request) -> web.Response:
    return web.Response(
        body=await request.app[SERVICES].description.page(),
        headers={
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": CONTENT_POLICY,
            "X-Content-Type-Options": "nosniff",
        },
    )
