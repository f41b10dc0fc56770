"""``/healthz``, ``/readyz`` and ``/metrics``.

Alive means: the loop turns, looks at pools do not pile up, and watches tell what lists show.
Kubernetes starts the operator anew when that is not so.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from anypod_operator.metrics import Metrics

OVERDUE_SECONDS = 180.0
STALE_SECONDS = 180.0
"""Beyond what kopf takes to notice a silent watch (70 s) and to begin another."""


@dataclass
class Health:
    metrics: Metrics
    overdue: Callable[[], float]
    staleness: Callable[[], float]
    waiting: Callable[[], int]
    ready: bool = False

    def complaint(self) -> str:
        """What is wrong with the operator itself; empty when nothing is."""
        if self.overdue() > OVERDUE_SECONDS:
            return f"a pool has waited for {self.overdue():.0f} s to be looked at"
        if self.staleness() > STALE_SECONDS:
            return (
                f"a watch is silent: what was read {self.staleness():.0f} s ago has not come by it"
            )
        return ""

    async def healthz(self, _: web.Request) -> web.Response:
        complaint = self.complaint()
        return web.Response(text=complaint or "ok", status=503 if complaint else 200)

    async def readyz(self, _: web.Request) -> web.Response:
        text = "ok" if self.ready else "pools have not been read yet"
        return web.Response(text=text, status=200 if self.ready else 503)

    async def show_metrics(self, _: web.Request) -> web.Response:
        self.metrics.waiting.set(self.waiting())
        self.metrics.staleness.set(self.staleness())
        return web.Response(body=self.metrics.text(), content_type="text/plain", charset="utf-8")


@asynccontextmanager
async def serving(health: Health, listen: tuple[str, int]) -> AsyncIterator[int]:
    """The port. Raises OSError when it is taken."""
    app = web.Application()
    app.add_routes(
        [
            web.get("/healthz", health.healthz),
            web.get("/readyz", health.readyz),
            web.get("/metrics", health.show_metrics),
        ]
    )
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, *listen).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
