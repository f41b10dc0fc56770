"""A gateway as one process: its parts in the order in which they need each other, and its end.

Requests are accepted from the start; those that need the store or the pools wait for the first
sync. At the end nothing new is accepted, what is under way is finished, and the parts are closed
in the reverse order.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable

import msgspec
from aiohttp import web

import anypod
from anypod.resources import link_tokens
from anypod.store.kv import KeyValue
from anypod.store.open import open_store
from anypod_gateway import connections, docs_page, openapi, routing
from anypod_gateway.access_log import AccessLog
from anypod_gateway.discovery import Apply, DesiredPool, PoolsFileSource, Source
from anypod_gateway.events import Events
from anypod_gateway.gauges import Gauges
from anypod_gateway.hosts import AnyHost, LoopbackHosts, is_loopback
from anypod_gateway.lifecycle import Lifecycle
from anypod_gateway.links import Identity
from anypod_gateway.log_lines import LineWriter
from anypod_gateway.metrics import Metrics
from anypod_gateway.middleware import Front, Hosts
from anypod_gateway.pools import Pools
from anypod_gateway.routes import TABLE
from anypod_gateway.services import SERVICES, KnownPools, Services
from anypod_gateway.settings import Settings
from anypod_gateway.shortcut import past_router

log = logging.getLogger(__name__)

LAST_BYTES_SECONDS = 5.0
"""For answers that are being written when the gateway stops."""
NO_MORE_SECONDS = 0.1
"""For what has had all of its time."""
CLOSE_SECONDS = 5.0

STORE = web.AppKey("store", KeyValue)

Resource = Callable[[web.Application], AsyncIterator[None]]


class CannotStart(Exception):
    """What is wrong with how the gateway was started, for who started it."""


async def serve(settings: Settings, lines: LineWriter) -> int:
    """Until a signal or a fault; the exit code."""
    life, metrics = Lifecycle(), Metrics()
    sock = open_socket(settings)
    access = AccessLog(lines, settings.log_format)
    front = Front(hosts=hosts(settings, sock), metrics=metrics, access=access, life=life)
    app = make_app(front)
    app.cleanup_ctx.append(_store(settings, metrics))
    app.cleanup_ctx.append(_pools(settings, life, metrics))
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=LAST_BYTES_SECONDS)
    await runner.setup()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, life.stop)
    assert runner.server is not None
    entry = past_router(app, front, runner.server.request_handler)
    listening = await connections.listen(runner, sock, entry)
    log.info("gateway %s listens on %s port %d", settings.name, *sock.getsockname()[:2])
    fault = await life.stopped()
    listening.close()
    log.info("gateway %s stops: %s", settings.name, fault or "it was told to")
    if not await life.idle(settings.drain_seconds):
        log.warning("some requests did not end within %g s", settings.drain_seconds)
        await runner.server.shutdown(NO_MORE_SECONDS)
    await runner.cleanup()
    return 1 if fault else 0


def open_socket(settings: Settings) -> socket.socket:
    """Raises CannotStart."""
    try:
        if settings.listen_fd is not None:
            return socket.socket(fileno=settings.listen_fd)
        host, port = settings.listen
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=connections.BACKLOG)
    except OSError as reason:
        raise CannotStart(f"no socket to listen on: {reason}") from reason


def hosts(settings: Settings, sock: socket.socket) -> Hosts:
    if is_loopback(sock.getsockname()[0]):
        return LoopbackHosts(settings.allow_hosts)
    return AnyHost()


def make_app(front: Front) -> web.Application:
    """Without SERVICES, which a resource has to bring."""
    app = web.Application(middlewares=[front.middleware()])
    routing.register(app, TABLE)
    return app


def services(settings: Settings, life: Lifecycle, metrics: Metrics, known: KnownPools) -> Services:
    document = openapi.document(TABLE)
    return Services(
        settings=settings,
        life=life,
        metrics=metrics,
        known=known,
        openapi=msgspec.json.encode(document),
        docs=docs_page.render(document).encode(),
    )


def _store(settings: Settings, metrics: Metrics) -> Resource:
    async def store(app: web.Application) -> AsyncIterator[None]:
        try:
            opened = open_store(settings.store, metrics.store_call)
        except ValueError as reason:
            raise CannotStart(str(reason)) from reason
        app[STORE] = opened
        yield
        async with asyncio.timeout(CLOSE_SECONDS):
            await opened.close()

    return store


def _pools(settings: Settings, life: Lifecycle, metrics: Metrics) -> Resource:
    async def pools(app: web.Application) -> AsyncIterator[None]:
        known = Pools(
            source=lambda apply: make_source(settings, apply),
            store=app[STORE],
            identity=make_identity(settings),
            events=Events(
                link=lambda pool, worker, up: gauges.link(pool, worker, up),
                retried=metrics.retried,
                session=metrics.session,
                fault=life.fail,
            ),
        )
        gauges = Gauges(lambda: known.current().values(), metrics.in_flight)
        metrics.add_gauges(gauges.collect)
        async with known:
            app[SERVICES] = services(settings, life, metrics, known)
            yield

    return pools


def make_source(settings: Settings, apply: Apply) -> Source:
    if settings.pools_file is not None:
        return PoolsFileSource(settings.pools_file, settings.namespace, apply)
    # Only here, for it takes as much time and memory as all the rest.
    from anypod_gateway.cluster.source import KubernetesSource

    return KubernetesSource(settings.watch_namespaces, settings.namespace, apply)


def make_identity(settings: Settings) -> Callable[[DesiredPool], Identity]:
    """Raises CannotStart."""
    token = read_token(settings)

    def identity(pool: DesiredPool) -> Identity:
        name = pool.manifest.metadata.name
        own = link_tokens.derive(token, pool.namespace, name) if settings.kubernetes else token
        return Identity(settings.name, anypod.__version__, own)

    return identity


def read_token(settings: Settings) -> str:
    """Raises CannotStart."""
    try:
        token = settings.link_token_file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as reason:
        raise CannotStart(f"no link token: {reason}") from reason
    if not token:
        raise CannotStart(f"the link token file {settings.link_token_file} is empty")
    return token
