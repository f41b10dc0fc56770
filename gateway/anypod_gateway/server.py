"""A gateway as one process: its parts in the order in which they need each other, and its end.

Requests are accepted from the start; those that need the store or the pools wait for the first
sync. At the end it first lingers: whoever still calls is served, and told with the answer to take
another connection, so that none has to be closed under a call that is on its way. Then nothing new
is accepted, what is under way is finished, and the parts are closed in the reverse order.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiohttp import web

import anypod
from anypod.resources import link_tokens
from anypod.store.etcd_security import EtcdSecurity
from anypod.store.kv import KeyValue
from anypod.store.open import open_store
from anypod_gateway import connections, routing
from anypod_gateway.access_log import AccessLog
from anypod_gateway.callers.gate import Gate
from anypod_gateway.callers.keys import ApiKeys
from anypod_gateway.callers.tokens import Tokens
from anypod_gateway.description import Description
from anypod_gateway.discovery import Apply, DesiredPool, PoolsFileSource, Source
from anypod_gateway.errands import vital
from anypod_gateway.events import Events
from anypod_gateway.gauges import Gauges, key_gauges
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
from anypod_gateway.webhooks.deliveries import Site

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
    gate = make_gate(settings, sock, metrics)
    front = Front(
        hosts=hosts(settings, sock),
        metrics=metrics,
        access=access,
        life=life,
        gate=gate,
        needs=routing.needs_of(TABLE),
        queries=routing.queries_of(TABLE),
    )
    app = make_app(front)
    metrics.add_gauges(key_gauges(lambda: gate.keys if gate is not None else None))
    if gate is not None:
        app.cleanup_ctx.append(_callers(settings, gate, life))
    app.cleanup_ctx.append(_store(settings, metrics))
    app.cleanup_ctx.append(_pools(settings, life, metrics, gate))
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=LAST_BYTES_SECONDS)
    await runner.setup()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, life.stop)
    assert runner.server is not None
    entry = past_router(app, front, runner.server.request_handler)
    listening = await connections.listen(runner, sock, entry)
    log.info("gateway %s listens on %s port %d", settings.name, *sock.getsockname()[:2])
    fault = await life.stopped()
    log.info("gateway %s stops: %s", settings.name, fault or "it was told to")
    if fault is None:
        await life.linger(settings.linger_seconds)
    listening.close()
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


def make_gate(settings: Settings, sock: socket.socket, metrics: Metrics) -> Gate | None:
    """None where everybody may do everything. Raises CannotStart rather than guess that."""
    if settings.api_keys is not None or settings.kubernetes_tokens:
        return Gate(metrics)
    if settings.authentication and not is_loopback(sock.getsockname()[0]):
        raise CannotStart(
            "others can reach it, and it is not told who may call: say --api-keys DIR,"
            " --kubernetes-tokens or both; or --no-authentication, if everybody may do everything"
        )
    log.info("there is no authentication: whoever reaches this gateway may do everything")
    return None


def make_app(front: Front) -> web.Application:
    """Without SERVICES, which a resource has to bring."""
    app = web.Application(middlewares=[front.middleware()])
    routing.register(app, TABLE)
    return app


def services(
    settings: Settings, life: Lifecycle, metrics: Metrics, known: KnownPools, gate: Gate | None
) -> Services:
    return Services(
        settings=settings,
        life=life,
        metrics=metrics,
        known=known,
        description=Description(TABLE, secured=gate is not None),
        gate=gate,
    )


def _callers(settings: Settings, gate: Gate, life: Lifecycle) -> Resource:
    async def callers(app: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if settings.api_keys is not None:
                gate.keys = await stack.enter_async_context(_keys(settings.api_keys, life))
            if settings.kubernetes_tokens:
                gate.tokens = await stack.enter_async_context(_tokens(settings))
            yield

    return callers


@asynccontextmanager
async def _keys(directory: Path, life: Lifecycle) -> AsyncIterator[ApiKeys]:
    if not await asyncio.to_thread(directory.is_dir):
        raise CannotStart(f"--api-keys: there is no directory {directory}")
    keys = ApiKeys(directory)
    await asyncio.to_thread(keys.read)
    following = vital(keys.follow(), "the reading of API keys", life.fail)
    try:
        yield keys
    finally:
        following.cancel()
        await asyncio.wait({following})


@asynccontextmanager
async def _tokens(settings: Settings) -> AsyncIterator[Tokens]:
    # Only here, for it takes as much time and memory as all the rest.
    from kubernetes.aio.config import ConfigException

    from anypod_gateway.cluster.connection import connected

    async with AsyncExitStack() as stack:
        try:
            api = await stack.enter_async_context(connected())
        except ConfigException as reason:
            raise CannotStart(f"--kubernetes-tokens: {reason}") from reason
        tokens = Tokens(api, settings.token_audience, settings.namespace)
        yield tokens
        await tokens.close()


def _store(settings: Settings, metrics: Metrics) -> Resource:
    async def store(app: web.Application) -> AsyncIterator[None]:
        try:
            security = etcd_security(settings)
            await asyncio.to_thread(security.check)
            opened = open_store(settings.store, metrics.store_call, security)
        except ValueError as reason:
            raise CannotStart(str(reason)) from reason
        app[STORE] = opened
        yield
        async with asyncio.timeout(CLOSE_SECONDS):
            await opened.close()

    return store


def etcd_security(settings: Settings) -> EtcdSecurity:
    """Raises ValueError."""
    return EtcdSecurity(
        ca=settings.etcd_ca,
        cert=settings.etcd_cert,
        key=settings.etcd_key,
        server_name=settings.etcd_server_name,
        user=settings.etcd_user,
        password_file=settings.etcd_password_file,
    )


def _pools(settings: Settings, life: Lifecycle, metrics: Metrics, gate: Gate | None) -> Resource:
    async def pools(app: web.Application) -> AsyncIterator[None]:
        known = Pools(
            source=lambda apply: make_source(settings, apply),
            store=app[STORE],
            identity=make_identity(settings),
            events=Events(
                link=lambda pool, worker, up: gauges.link(pool, worker, up),
                retried=metrics.retried,
                session=metrics.session,
                lm=metrics.lm,
                job=metrics.job,
                webhook=metrics.webhook,
                executing=metrics.under_way,
                executed=metrics.execution,
                under_way=lambda begins: life.begin() if begins else life.end(),
                is_leaving=lambda: life.draining,
                fault=life.fail,
            ),
            site=Site.of(settings.webhook_secrets, settings.cluster_networks),
        )
        gauges = Gauges(lambda: known.current().values(), metrics.in_flight)
        metrics.add_gauges(gauges.collect)
        async with known:
            app[SERVICES] = services(settings, life, metrics, known, gate)
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
