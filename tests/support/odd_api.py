"""What answers in the place of the Kubernetes API, but is something else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from kubernetes.aio import client

ODD_ANSWERS = {
    "a proxy's page": (200, b"<html>log in</html>"),
    "nothing": (200, b""),
    "cut off": (200, b'{"kind": "PodList", "items": [{"metadata"'),
    "no text": (200, b"\xff\xfe\xfd"),
    "no object": (200, b'["items"]'),
    "no value": (200, b"null"),
    "nested without an end": (200, b"[" * 100_000),
    "a page of another server": (502, b"<html>bad gateway</html>"),
    "an error that is no object": (502, b'"bad gateway"'),
    "an error that is a list": (403, b'["no"]'),
    "an error of another form": (403, b'{"message": {"a": 1}, "details": "who are you?"}'),
}
NO_LISTS = {
    **ODD_ANSWERS,
    "another object": (200, b'{"status": "ok"}'),
    "a list without items": (200, b'{"metadata": {"resourceVersion": "1"}}'),
    "items that are none": (200, b'{"metadata": {"resourceVersion": "1"}, "items": {"a": 1}}'),
    "a list without metadata": (200, b'{"items": []}'),
    "a list without a version": (200, b'{"items": [], "metadata": {}}'),
    "metadata that are none": (200, b'{"items": [], "metadata": "1"}'),
}
NO_EVENTS = {
    **{name: (status, body + b"\n") for name, (status, body) in ODD_ANSWERS.items() if body},
    "another object": (200, b'{"status": "ok"}\n'),
    "a problem": (200, b'{"type": "about:blank", "title": "no"}\n'),
    "an event of nothing": (200, b'{"type": "ADDED", "object": 1}\n'),
}


@asynccontextmanager
async def odd_api(status: int, body: bytes) -> AsyncIterator[client.ApiClient]:
    """A connection to what answers everything like this."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers={"Retry-After": "²"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    settings = client.Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}")
    try:
        async with client.ApiClient(settings) as connection:
            yield connection
    finally:
        await runner.cleanup()
