"""Everything read anew now and then, which heals what a watch has missed, and tells if one is dead.

A watch that begins again after a gap never tells what was deleted in it; and one that has died
tells nothing at all. So what a list shows must come by the watch too, or it counts as stale.

Namespaces are read apart: one that is deleted takes the operator's Role in it along, and what may
not be read any more there must not hold up the others.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable

from anypod_operator.api import Api
from anypod_operator.api_errors import ApiError, Forbidden
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
        self._failing: set[str | None] = set()

    async def first(self) -> None:
        """Before watches begin, so that no look sees half of the world. Where the operator may not
        read, nothing is; unless that is everywhere, which is a mistake that somebody will mend."""
        while True:
            failed = await self._read_all(watched=False)
            may_read = len(failed) < len(self._where)
            if may_read and all(isinstance(reason, Forbidden) for reason in failed.values()):
                return
            asked = (reason.retry_after for reason in failed.values())
            await asyncio.sleep(max(FIRST_PAUSE, *asked))

    async def keep_reading(self, seconds: float, before: Callable[[], None]) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(seconds)
            failed = await self._read_all(watched=True)
            if len(failed) == len(self._where):
                continue
            before()
            for key in self._world.pools():
                if key.namespace not in failed:
                    # Not all at once: a look costs the API server at least one call.
                    self._look(key, random.uniform(0, seconds / 2))  # noqa: S311 - no secret

    async def _read_all(self, *, watched: bool) -> dict[str | None, ApiError]:
        """Why some namespaces could not be read."""
        failed = {}
        for namespace in self._where:
            try:
                for kind in WATCHED:
                    await self._read(kind, namespace, watched=watched)
            except ApiError as reason:
                failed[namespace] = reason
                self._note_failure(namespace, reason)
            else:
                self._note_success(namespace)
        return failed

    def _note_failure(self, namespace: str | None, reason: ApiError) -> None:
        if namespace not in self._failing:
            self._failing.add(namespace)
            log.warning("%s cannot be read, trying on: %s", _called(namespace), reason)
            return  # what is known is kept once: an API server that starts may refuse a moment long
        if namespace is not None and isinstance(reason, Forbidden):
            for kind, name in self._world.lose_namespace(namespace):
                self._freshness.gone(kind, name)

    def _note_success(self, namespace: str | None) -> None:
        if namespace in self._failing:
            self._failing.remove(namespace)
            log.info("%s can be read again", _called(namespace))

    async def _read(self, kind: Kind, namespace: str | None, *, watched: bool) -> None:
        listed, version = await self._api.list_all(kind, namespace, SELECTORS.get(kind, ""))
        there = {(raw["metadata"]["namespace"], raw["metadata"]["name"]) for raw in listed}
        for name in self._world.replace(kind, namespace, listed, version):
            if watched and name in there:
                self._freshness.awaited(kind, name)
            else:
                self._freshness.gone(kind, name)


def _called(namespace: str | None) -> str:
    return "the cluster" if namespace is None else f"namespace {namespace}"
