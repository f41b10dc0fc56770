"""What the handlers have at hand: the parts of a running gateway, typed, under one key."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from anypod.api import ids
from anypod.api.pools import WorkerDocument
from anypod.api.problems import error
from anypod.resources import WorkerPoolSpec
from anypod.store.program_cache import ProgramCache
from anypod.store.programs import ProgramStore
from anypod.store.sessions import SessionStore
from anypod_gateway import requests
from anypod_gateway.callers.gate import Gate
from anypod_gateway.calls import Call
from anypod_gateway.description import Description
from anypod_gateway.executions import ExecutionInfo, Runner
from anypod_gateway.jobs.queue import Jobs
from anypod_gateway.lifecycle import Lifecycle
from anypod_gateway.metrics import Metrics
from anypod_gateway.once import Once
from anypod_gateway.settings import Settings
from anypod_gateway.shares import Share
from anypod_gateway.webhooks.deliveries import Deliveries

_AT_ONCE = 8


class Pool(Protocol):
    """One pool, as handlers need it."""

    @property
    def name(self) -> str: ...

    @property
    def spec(self) -> WorkerPoolSpec: ...

    @property
    def cache(self) -> ProgramCache: ...

    @property
    def sessions(self) -> SessionStore: ...

    @property
    def runner(self) -> Runner: ...

    @property
    def once(self) -> Once: ...

    @property
    def jobs(self) -> Jobs: ...

    @property
    def webhooks(self) -> Deliveries: ...

    @property
    def share(self) -> Share:
        """What all batches together may take."""
        ...

    def programs(self, session: str | None = None) -> ProgramStore:
        """The pool's, or the session's own."""
        ...

    async def open_session(self, key: str) -> None:
        """Create the session if there is none."""
        ...

    def workers(self) -> Sequence[WorkerDocument]:
        """In the order of their names."""
        ...

    def queued(self) -> int: ...

    def message(self) -> str: ...


class KnownPools(Protocol):
    """The pools that there are now."""

    @property
    def synced(self) -> asyncio.Event:
        """Set once the pools are known and their programs too."""
        ...

    def current(self) -> Mapping[str, Pool]: ...

    def not_ready(self) -> str | None:
        """Why nothing should be sent here, beside draining."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    life: Lifecycle
    metrics: Metrics
    known: KnownPools
    description: Description
    gate: Gate | None = None
    """None where everybody may do everything."""

    async def pools(self) -> list[Pool]:
        """In the order of their names."""
        await self._synced()
        return [pool for _, pool in sorted(self.known.current().items())]

    async def readable(self, pools: list[Pool], call: Call) -> list[Pool]:
        """Those of them that the caller may read."""
        caller, gate = call.caller, self.gate
        if caller is None or gate is None:
            return pools
        slots = asyncio.Semaphore(_AT_ONCE)

        async def may(pool: Pool) -> bool:
            async with slots:
                return await gate.may(caller, "read", pool.name)

        found = await asyncio.gather(*(may(pool) for pool in pools))
        return [pool for pool, readable in zip(pools, found, strict=True) if readable]

    async def pool(self, request: web.Request, call: Call) -> Pool:
        return await self.pool_named(request.match_info["pool"], call)

    async def pool_named(self, name: str, call: Call) -> Pool:
        if not self.known.synced.is_set():
            await self._synced()
        pool = self.known.current().get(name)
        if pool is None:
            raise error("pool-not-found", f"there is no pool {name!r}")
        call.pool = name
        return pool

    async def may_see_replies(self, pool: Pool, call: Call) -> bool:
        """Whether the caller is shown what an LM said that could not be used. That may repeat the
        program's instructions and demos, so it is for who may write programs."""
        if call.caller is None or self.gate is None:
            return True
        return await self.gate.may(call.caller, "write", pool.name)

    async def _synced(self) -> None:
        try:
            async with asyncio.timeout(self.settings.sync_seconds):
                await self.known.synced.wait()
        except TimeoutError:
            raise error(
                "store-unavailable", "this gateway is still starting", retry_after=1
            ) from None

    async def body(self, request: web.Request, pool: Pool) -> bytes:
        return await requests.read_body(
            request, pool.spec.limits.body_bytes, self.settings.body_seconds
        )

    @contextmanager
    def running(self, pool: Pool) -> Iterator[None]:
        """An execution is under way, whether its caller waits for it or has left."""
        in_flight = self.metrics.in_flight
        in_flight[pool.name] += 1
        try:
            with self.life.active():
                yield
        finally:
            in_flight[pool.name] -= 1

    def note(self, pool: Pool, call: Call, info: ExecutionInfo) -> None:
        call.worker = info.worker
        self.metrics.execution(pool.name, info.queue_seconds, info.run_seconds)

    def not_ready(self) -> str | None:
        return "draining" if self.life.draining else self.known.not_ready()


SERVICES = web.AppKey("services", Services)


def session_key(request: web.Request, pool: Pool) -> str | None:
    """The session that a call belongs to."""
    header = pool.spec.sessions.header
    key = request.headers.get(header)
    if key is None or ids.is_session_key(key):
        return key
    raise error("bad-request", f"{header} matches {ids.SESSION_KEY}", path=header)
