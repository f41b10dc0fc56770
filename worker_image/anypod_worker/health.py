"""What probes and people ask of a worker over HTTP."""

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from anypod.wire.messages import Load


@dataclass(frozen=True)
class Health:
    load: Callable[[], Load]

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/healthz", self.healthz),
            web.get("/readyz", self.readyz),
            web.get("/metrics", self.metrics),
        ]

    async def healthz(self, _: web.Request) -> web.Response:
        """That the loop turns; a busy program does not matter."""
        return web.json_response({"alive": True})

    async def readyz(self, _: web.Request) -> web.Response:
        load = self.load()
        ready = load.ready and not load.draining
        body = {"ready": ready, "draining": load.draining, "message": load.message}
        return web.json_response(body, status=200 if ready else 503)

    async def metrics(self, _: web.Request) -> web.Response:
        return web.Response(text=_metrics(self.load()), content_type="text/plain")


def _metrics(load: Load) -> str:
    gauges = {
        "ready": int(load.ready),
        "draining": int(load.draining),
        "executors_busy": load.busy,
        "executors_idle": load.idle,
        "executions_running": load.running,
        "sessions": load.sessions,
        "sessions_busy": load.busy_sessions,
        "memory_bytes": load.memory_bytes,
    }
    lines = []
    for name, value in gauges.items():
        lines += [f"# TYPE anypod_worker_{name} gauge", f"anypod_worker_{name} {value}"]
    lines.append("# TYPE anypod_worker_executors_replaced_total counter")
    for reason, count in sorted(load.restarts.items()):
        lines.append(f'anypod_worker_executors_replaced_total{{reason="{reason}"}} {count}')
    return "\n".join(lines) + "\n"
