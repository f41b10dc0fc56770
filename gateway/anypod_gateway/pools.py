"""The pools that there are now, as their source says."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

import aiohttp

from anypod.api.problems import problem
from anypod.store.kv import KeyValue
from anypod_gateway.discovery import Apply, DesiredPool, Source
from anypod_gateway.errands import Errands, vital
from anypod_gateway.events import Events
from anypod_gateway.links import Identity, open_http
from anypod_gateway.pool import Pool
from anypod_gateway.webhooks.deliveries import Site

__all__ = ["Pool", "Pools"]

log = logging.getLogger(__name__)


class Pools:
    """``async with Pools(...)``: follows the source and runs what it says."""

    def __init__(
        self,
        *,
        source: Callable[[Apply], Source],
        store: KeyValue,
        identity: Callable[[DesiredPool], Identity],
        events: Events = Events(),  # noqa: B008 - frozen
        site: Site | None = None,
    ) -> None:
        self.synced = asyncio.Event()
        """Set once the pools are known, and what the store has of them."""
        self._pools: dict[str, Pool] = {}
        self._store = store
        self._identity = identity
        self._events = events
        self._site = site or Site.of(None, ())
        self._errands = Errands()
        self._source = source(self._apply)
        self._http: aiohttp.ClientSession | None = None
        self._following: asyncio.Task[None] | None = None
        self._syncing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._http = open_http()
        self._following = vital(self._source.run(), "the source of pools", self._events.fault)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._following is not None
        assert self._http is not None
        self._following.cancel()
        await asyncio.wait({self._following})
        why = problem("no-worker", "the gateway is stopping", retry_after=1)
        await asyncio.gather(*(pool.close(why) for pool in self._pools.values()))
        await self._errands.close()
        await self._http.close()

    def current(self) -> Mapping[str, Pool]:
        return self._pools

    def not_ready(self) -> str | None:
        """Why nothing should be sent here."""
        if not self.synced.is_set():
            return "the pools are not known yet"
        pools = self._pools.values()
        in_use = [pool for pool in pools if pool.has_links()] or pools
        reasons = (
            *(pool.not_ready() for pool in pools),
            *(pool.left_behind() for pool in in_use),
        )
        return next((reason for reason in reasons if reason is not None), None)

    def _apply(self, desired: list[DesiredPool]) -> None:
        wanted = {pool.name: pool for pool in desired}
        for name in [name for name in self._pools if name not in wanted]:
            log.info("pool %s is gone", name)
            gone = problem("pool-not-found", f"the pool {name!r} was deleted")
            self._errands.run(self._pools.pop(name).close(gone))
        for name, pool in wanted.items():
            if name in self._pools:
                self._pools[name].apply(pool)
            else:
                self._add(pool)
        if not self.synced.is_set():
            if self._syncing is not None:
                self._syncing.cancel()
            self._syncing = self._errands.run(self._sync())

    def _add(self, desired: DesiredPool) -> None:
        assert self._http is not None
        identity = self._identity(desired)
        pool = Pool(desired, self._store, identity, self._http, self._events, self._site)
        self._pools[pool.name] = pool
        pool.start(desired)

    async def _sync(self) -> None:
        for pool in list(self._pools.values()):
            await pool.watch.synced.wait()
        self.synced.set()
