"""Which pools and workers there are meant to be, as somebody outside of this process says.

A source (the pools file here, the Kubernetes API in ``cluster``) hands over all of it whenever
anything may have changed; ``diff`` says what that means for what is known already. So another
source only has to say what there is.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from anypod.resources import WorkerPool, pools_file
from anypod.resources.pools_file import PoolsFile

log = logging.getLogger(__name__)

POLL_SECONDS = 0.05
QUIET_POLL_SECONDS = 0.25
MOVING_SECONDS = 5.0
"""Changes come in groups: after one it is looked for more of them often, and then less."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a worker is, and whether it may be given work."""

    name: str
    host: str
    port: int
    ready: bool
    terminating: bool = False

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port


@dataclass(frozen=True, slots=True)
class DesiredPool:
    manifest: WorkerPool
    endpoints: tuple[Endpoint, ...]
    message: str = ""
    """What is wrong with the pool as a whole."""
    namespace: str = "default"
    is_home: bool = True
    """It is in the gateway's own namespace, as all are where there are none."""

    @property
    def name(self) -> str:
        """By which clients call it: with its namespace, unless that is the gateway's own."""
        name = self.manifest.metadata.name
        return name if self.is_home else f"{name}.{self.namespace}"


Apply = Callable[[list[DesiredPool]], None]
"""Takes all pools that there are meant to be."""


class Source(Protocol):
    async def run(self) -> None:
        """Hand over all pools whenever something may have changed, for ever."""


@dataclass(frozen=True, slots=True)
class Difference:
    gone: list[str]
    """Names of workers that are no more, or are elsewhere now."""
    new: list[Endpoint]
    changed: list[Endpoint]
    """At the same address as before."""


def diff(known: Mapping[str, Endpoint], desired: Iterable[Endpoint]) -> Difference:
    """A worker at another address is another process: it goes and comes."""
    wanted = {endpoint.name: endpoint for endpoint in desired}
    moved = {
        name for name, now in wanted.items() if name in known and known[name].address != now.address
    }
    return Difference(
        gone=[name for name in known if name not in wanted or name in moved],
        new=[now for name, now in wanted.items() if name not in known or name in moved],
        changed=[
            now
            for name, now in wanted.items()
            if name in known and name not in moved and known[name] != now
        ],
    )


def desired_pools(content: PoolsFile, namespace: str) -> list[DesiredPool]:
    return [
        DesiredPool(
            entry.pool,
            tuple(
                Endpoint(worker.name, worker.host, worker.port, worker.ready, worker.terminating)
                for worker in entry.workers
            ),
            entry.message,
            namespace,
        )
        for entry in content.pools
    ]


class PoolsFileSource:
    """Reads the pools file whenever it has changed; keeps the last good state otherwise."""

    def __init__(self, path: Path, namespace: str, apply: Apply) -> None:
        self._path = path
        self._namespace = namespace
        self._apply = apply
        self._seen: tuple[int, int, int] | None = None
        self._complained = ""

    async def run(self) -> None:
        """For ever; an exception of ``apply`` ends it."""
        loop = asyncio.get_running_loop()
        moving_until = math.inf
        while True:
            content = await asyncio.to_thread(self._changed)
            if content is not None:
                self._apply(desired_pools(content, self._namespace))
                moving_until = loop.time() + MOVING_SECONDS
            is_moving = loop.time() < moving_until
            await asyncio.sleep(POLL_SECONDS if is_moving else QUIET_POLL_SECONDS)

    def _changed(self) -> PoolsFile | None:
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
            if stamp == self._seen:
                return None
            content = pools_file.read(self._path)
        except (OSError, ValidationError) as error:
            self._complain(error)
            return None
        self._seen = stamp
        if self._complained:
            log.info("the pools file can be read again")
        self._complained = ""
        return content

    def _complain(self, error: Exception) -> None:
        reason = str(error)
        if reason != self._complained:
            log.warning("the pools file cannot be read, what it said last holds: %s", reason)
        self._complained = reason
