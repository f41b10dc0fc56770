"""Puts the operator together, and ends it when a part of it ends."""

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp

from anypod_operator.agenda import Agenda
from anypod_operator.api import Api, connect
from anypod_operator.children import Children
from anypod_operator.events import Events
from anypod_operator.health import Health, serving
from anypod_operator.kinds import Kind, Raw
from anypod_operator.load_board import LoadBoard
from anypod_operator.loads import Loads
from anypod_operator.metrics import Metrics
from anypod_operator.pools import PoolKey
from anypod_operator.reconcile import Reconciler
from anypod_operator.resync import Freshness, Resync
from anypod_operator.scale_in import ScaleIn
from anypod_operator.served import wait_for_crd, warn_of_old_crd
from anypod_operator.settings import Settings
from anypod_operator.watches import watch
from anypod_operator.world import World

log = logging.getLogger(__name__)


@dataclass
class Operator:
    settings: Settings
    api: Api
    metrics: Metrics
    session: aiohttp.ClientSession

    def __post_init__(self) -> None:
        self.agenda: Agenda[PoolKey] = Agenda(lambda key: self.reconciler.look(key))
        self.world = World(self.agenda.add)
        self.freshness = Freshness()
        self.children = Children(self.api, self.world)
        loads = Loads(self.session)
        self.board = LoadBoard(self.world, loads, self.metrics, self.agenda.add)
        self.reconciler = Reconciler(
            self.api,
            self.world,
            self.children,
            ScaleIn(self.api, self.world, loads, self.board.last_of),
            Events(self.api),
            self.settings,
            self.metrics,
            self.board.of,
        )
        self.resync = Resync(
            self.api, self.world, self.settings.namespaces, self.freshness, self.agenda.add
        )
        self.health = Health(
            self.metrics, self.agenda.overdue, self.freshness.staleness, self.agenda.waiting
        )

    def told(self, kind: Kind, type_: str | None, raw: Raw) -> None:
        self.metrics.events.labels(kind.kind).inc()
        self.freshness.told(kind, raw)
        self.world.note(kind, type_, raw)

    async def run(self) -> None:
        """Until a signal. Raises what broke it."""
        settings = self.settings
        await wait_for_crd(self.api)
        await self.resync.first()
        self.health.ready = True
        log.info("%d pools are looked after", len(self.world.pools()))
        parts = {
            asyncio.create_task(watch(self.told, settings.namespaces), name="watches"),
            asyncio.create_task(self.agenda.run(), name="agenda"),
            asyncio.create_task(self.board.keep_asking(settings.load_seconds), name="loads"),
            asyncio.create_task(
                self.resync.keep_reading(settings.resync_seconds, self.children.try_refused_again),
                name="resync",
            ),
        }
        check = asyncio.create_task(warn_of_old_crd(self.api), name="check of the CRD")
        await _until_one_ends(parts, check)


async def _until_one_ends(parts: set[asyncio.Task[None]], check: asyncio.Task[None]) -> None:
    """None of the parts ends by itself; the check does."""
    try:
        done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for part in (*parts, check):
            part.cancel()
        await asyncio.gather(*parts, check, return_exceptions=True)
    for part in done:
        part.result()


async def run(settings: Settings) -> None:
    """Until a signal. Raises what broke it; OSError when the port is taken."""
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(await connect())
        unbounded = aiohttp.TCPConnector(limit=0)  # who asks workers bounds it
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=unbounded))
        operator = Operator(settings, Api(connection, metrics), metrics, session)
        port = await stack.enter_async_context(serving(operator.health, settings.listen))
        where = ", ".join(settings.namespaces) or "all namespaces"
        log.info("anypod operator for %s, port %d", where, port)
        await operator.run()
