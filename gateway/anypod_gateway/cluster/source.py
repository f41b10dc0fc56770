"""Pools from WorkerPools, and their workers from EndpointSlices, of one, some or all namespaces."""

import asyncio
import logging
from collections.abc import Iterable

from pydantic import ValidationError

from anypod.resources import WorkerPool, served
from anypod.resources.names import POOL_LABEL
from anypod.resources.workerpool import API_VERSION
from anypod_gateway.cluster.connection import Api, connected
from anypod_gateway.cluster.objects import Name, Raw, endpoints_of, name_of, why_degraded
from anypod_gateway.cluster.reflection import Reflection
from anypod_gateway.discovery import Apply, DesiredPool

log = logging.getLogger(__name__)

Version = tuple[str, int]
"""Of a pool's spec: the pool's uid, and its generation."""


class KubernetesSource:
    """A ``discovery.Source``."""

    def __init__(self, namespaces: tuple[str, ...], home: str, apply: Apply) -> None:
        """``namespaces``: none for all; ``home``: whose pools need no namespace in their names."""
        self._namespaces = namespaces
        self._home = home
        self._apply = apply
        self._changed = asyncio.Event()
        self._read: dict[Name, tuple[Version, WorkerPool]] = {}
        """As they were when they could last be read, and at which version that was: every change of
        a status or a worker tells of all pools anew, and to read one takes a millisecond of the
        loop that serves calls."""
        self._complaints: dict[Name, str] = {}

    async def run(self) -> None:
        """For ever; an exception of ``apply`` ends it. Raises ConfigException."""
        async with connected() as api, asyncio.TaskGroup() as tasks:
            pools = self._reflections(api, f"/apis/{API_VERSION}", "workerpools", "")
            slices = self._reflections(
                api, "/apis/discovery.k8s.io/v1", "endpointslices", POOL_LABEL
            )
            for each in (*pools, *slices):
                tasks.create_task(each.run())
            while True:
                await self._changed.wait()
                self._changed.clear()
                if _are_known(pools, slices):
                    self._tell(_objects(pools), _objects(slices))

    def _reflections(self, api: Api, root: str, plural: str, selector: str) -> list[Reflection]:
        within = [f"/namespaces/{name}" for name in self._namespaces] or [""]
        return [
            Reflection(api, f"{root}{namespace}/{plural}", selector, self._changed.set)
            for namespace in within
        ]

    def _tell(self, pools: list[Raw], slices: list[Raw]) -> None:
        endpoints = endpoints_of(slices)
        degraded = {name_of(raw): why_degraded(raw) for raw in pools}
        self._read = {
            name: read
            for name, read in ((name_of(raw), self._manifest(raw)) for raw in pools)
            if read is not None
        }
        for gone in self._complaints.keys() - {name_of(raw) for raw in pools}:
            del self._complaints[gone]
        self._apply(
            [
                DesiredPool(
                    manifest,
                    endpoints.get(name, ()),
                    self._complaints.get(name) or degraded[name],
                    namespace=name[0],
                    is_home=name[0] == self._home,
                )
                for name, (_, manifest) in self._read.items()
            ]
        )

    def _manifest(self, raw: Raw) -> tuple[Version, WorkerPool] | None:
        """If it cannot be read, as it was; that the API server took it means a newer version."""
        name = name_of(raw)
        version = raw["metadata"]["uid"], raw["metadata"]["generation"]
        before = self._read.get(name)
        if before is not None and before[0] == version:
            return before
        try:
            manifest, _ = served.read(raw)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            if self._complaints.get(name) != reason:
                log.warning("pool %s/%s cannot be read: %s", *name, reason)
            self._complaints[name] = reason
            return before
        self._complaints.pop(name, None)
        return version, manifest


def _are_known(*kinds: list[Reflection]) -> bool:
    """Where nothing may be read, nothing is; unless that is everywhere, which is a mistake that
    somebody will mend."""
    return all(
        all(each.is_synced or each.is_refused for each in kind)
        and any(each.is_synced for each in kind)
        for kind in kinds
    )


def _objects(reflections: Iterable[Reflection]) -> list[Raw]:
    return [raw for reflection in reflections for raw in reflection.objects]
