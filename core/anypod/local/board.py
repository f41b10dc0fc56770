"""What the launcher knows of its pools, as the gateway reads it (``anypod.resources.pools_file``).

Written soon after a change, once for all changes of a moment.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from anypod.local.console import Level
from anypod.resources import pools_file
from anypod.resources.pools_file import PoolEntry, PoolsFile, WorkerEndpoint
from anypod.resources.workerpool import WorkerPool

HOST = "127.0.0.1"
AGAIN_SECONDS = 0.5
"""Before what could not be written is written again."""


@dataclass
class WorkerState:
    """One worker of a pool, through all its lives."""

    pool: str
    name: str
    port: int = 0
    """Of the last life; 0 before the first."""
    ready: bool = False
    message: str = "starting"
    """Why it is not ready."""
    again: str = ""
    """When it is started again, while it waits for that."""
    trouble: bool = False
    """It is not ready, and not just on its way to be."""


@dataclass
class PoolState:
    manifest: WorkerPool
    workers: list[WorkerState] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.manifest.metadata.name

    @property
    def ready(self) -> int:
        return sum(worker.ready for worker in self.workers)

    def message(self) -> str:
        """Why workers are not ready: each reason once, with whom it holds."""
        return "; ".join(
            f"{listed(names)}: {why}"
            for why, names in self._reasons(
                (worker, f"{worker.message}; {worker.again}" if worker.again else worker.message)
                for worker in self.workers
                if not worker.ready
            ).items()
        )

    def troubles(self) -> dict[str, list[str]]:
        """What is wrong, with the workers for which it is so."""
        return self._reasons((worker, worker.message) for worker in self.workers if worker.trouble)

    def _reasons(self, found: Iterable[tuple[WorkerState, str]]) -> dict[str, list[str]]:
        reasons: dict[str, list[str]] = {}
        for worker, why in found:
            reasons.setdefault(why, []).append(worker.name)
        return reasons

    def entry(self) -> PoolEntry:
        endpoints = [
            WorkerEndpoint(name=worker.name, host=HOST, port=worker.port, ready=worker.ready)
            for worker in self.workers
            if worker.port
        ]
        return PoolEntry(pool=self.manifest, workers=endpoints, message=self.message())


class Board:
    def __init__(self, path: Path, pools: Sequence[WorkerPool]) -> None:
        self.pools = [
            PoolState(
                pool,
                [
                    WorkerState(pool.metadata.name, f"w{number}")
                    for number in range(1, pool.spec.replicas + 1)
                ],
            )
            for pool in pools
        ]
        self.on_change: Callable[[], None] = lambda: None
        self._path = path
        self._dirty = asyncio.Event()

    @property
    def all_ready(self) -> bool:
        return all(worker.ready for pool in self.pools for worker in pool.workers)

    def changed(self) -> None:
        self._dirty.set()
        self.on_change()

    async def keep_written(self, say: Callable[[str, Level], None]) -> None:
        """For ever. In a thread, for a disk may be slow; and again and again while it is full."""
        failed = False
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await asyncio.to_thread(pools_file.write, self._path, self.content())
            except OSError as reason:
                self._dirty.set()
                if not failed:
                    say(f"{self._path} cannot be written: {reason.strerror}; trying on", "error")
                failed = True
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                if failed:
                    say(f"{self._path} is written again", "info")
                failed = False

    def content(self) -> PoolsFile:
        return PoolsFile(pools=[pool.entry() for pool in self.pools])


def listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} and {len(names) - 1} more"
