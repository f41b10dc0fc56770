"""Everything read anew now and then, which heals what a watch has missed, and tells if one is dead.

A watch that begins again after a gap never tells what was deleted in it; and one that has died
tells nothing at all. So what a list shows must come by the watch too, or it counts as stale.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable

from anypod_operator.api import Api
from anypod_operator.api_errors import ApiError
from anypod_operator.kinds import SELECTORS, WATCHED, Kind, Raw
from anypod_operator.pools import PoolKey
from anypod_operator.world import Name, World

log = logging.getLogger(__name__)

FIRST_PAUSE = 2.0


class Freshness:
    """What lists have shown and no watch has told yet."""

    def __init__(self) -> None:
        self._awaited: dict[tuple[Kind, Name], float] = {}

    def awaited(self, kind: Kind, name: Name) -> None:
        self._awaited.setdefault((kind, name), time.monotonic())

    def told(self, kind: Kind, raw: Raw) -> None:
        name = (raw["metadata"]["namespace"], raw["metadata"]["name"])
        self._awaited.pop((kind, name), None)

    def gone(self, kind: Kind, name: Name) -> None:
        self._awaited.pop((kind, name), None)

    def staleness(self) -> float:
        """Seconds for which the oldest of it has not come."""
        return max((time.monotonic() - since for since in self._awaited.values()), default=0.0)


class Resync:
    def __init__(
        self,
        api: Api,
        world: World,
        namespaces: tuple[str, ...],
        freshness: Freshness,
        look: Callable[[PoolKey, float], None],
    ) -> None:
        self._api = api
        self._world = world
        self._where: tuple[str | None, ...] = namespaces or (None,)
        self._freshness = freshness
        self._look = look

    async def first(self) -> None:
        """Before watches begin, so that no look sees half of the world."""
        while True:
            try:
                await self._read_all(watched=False)
            except ApiError as reason:
                log.warning("not yet: %s", reason)
                await asyncio.sleep(max(FIRST_PAUSE, reason.retry_after))
            else:
                return

    async def keep_reading(self, seconds: float, before: Callable[[], None]) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self._read_all(watched=True)
            except ApiError as reason:
                log.warning("not everything could be read anew: %s", reason)
                continue
            before()
            for key in self._world.pools():
                # Not all at once: a look costs the API server at least one call.
                self._look(key, random.uniform(0, seconds / 2))  # noqa: S311 - no secret

    async def _read_all(self, *, watched: bool) -> None:
        for kind in WATCHED:
            for namespace in self._where:
                await self._read(kind, namespace, watched=watched)

    async def _read(self, kind: Kind, namespace: str | None, *, watched: bool) -> None:
        listed, version = await self._api.list_all(kind, namespace, SELECTORS.get(kind, ""))
        there = {(raw["metadata"]["namespace"], raw["metadata"]["name"]) for raw in listed}
        for name in self._world.replace(kind, namespace, listed, version):
            if watched and name in there:
                self._freshness.awaited(kind, name)
            else:
                self._freshness.gone(kind, name)
