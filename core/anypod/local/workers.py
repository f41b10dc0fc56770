"""The workers of one local pool: started at once, probed, and replaced when they die or freeze."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from anypod.local import children as child_processes
from anypod.local.backoff import Backoff
from anypod.local.children import Children
from anypod.local.nursery import Nursery, NurseryGone
from anypod.local.readiness import probe
from anypod.resources.pools_file import PoolEntry, WorkerEndpoint
from anypod.resources.worker_config import worker_config
from anypod.resources.workerpool import WorkerPool

STARTING_SECONDS = 0.02
"""Between probes of a worker that is not ready."""
READY_SECONDS = 0.5
"""Between probes of one that is."""
FROZEN_PROBES = 3
"""Unanswered probes after which a worker is killed; it is unready after the first."""
STARTING_PROBES = 30
"""The same before its first answer: its socket is open before its loop turns."""

Tell = Callable[[str], None]


@dataclass
class Slot:
    """A place in the pool: one worker after the other, each under a name of its own."""

    number: int
    generation: int = 0
    pid: int = 0
    port: int = 0
    ready: bool = False
    stopping: bool = False
    message: str = "starting"
    backoff: Backoff = field(default_factory=Backoff)

    @property
    def name(self) -> str:
        return f"w{self.number}" if self.generation < 2 else f"w{self.number}-{self.generation}"


class Workers:
    def __init__(
        self,
        pool: WorkerPool,
        token: str,
        *,
        nursery: Nursery,
        children: Children,
        http: aiohttp.ClientSession,
        changed: Callable[[], None],
        tell: Tell,
    ) -> None:
        """``changed`` is called when the pools file no longer tells the truth; ``tell`` gets
        lines for the person at the terminal."""
        self.pool = pool
        self.slots = [Slot(number) for number in range(1, pool.spec.replicas + 1)]
        self.last_words: dict[str, str] = {}
        """By worker: the last error that it logged."""
        self._token = token
        self._nursery = nursery
        self._children = children
        self._http = http
        self._changed = changed
        self._tell = tell
        self._ended: dict[int, asyncio.Future[int]] = {}

    async def run(self) -> None:
        """For ever; cancelling it stops nothing, see ``stop``."""
        async with asyncio.TaskGroup() as tasks:
            for slot in self.slots:
                tasks.create_task(self._keep(slot))

    def entry(self) -> PoolEntry:
        """This pool's part of the pools file."""
        return PoolEntry(pool=self.pool, workers=list(self._endpoints()), message=self.message)

    @property
    def ready(self) -> int:
        return sum(slot.ready for slot in self.slots)

    @property
    def message(self) -> str:
        if not self.slots or self.ready:
            return ""
        return next((slot.message for slot in self.slots if slot.message), "")

    def _endpoints(self) -> Iterator[WorkerEndpoint]:
        for slot in self.slots:
            if slot.pid:
                yield WorkerEndpoint(
                    name=slot.name,
                    host="127.0.0.1",
                    port=slot.port,
                    ready=slot.ready,
                    terminating=slot.stopping,
                )

    # one slot

    async def _keep(self, slot: Slot) -> None:
        while True:
            try:
                await self._one_life(slot)
            except NurseryGone as error:
                slot.message = str(error)
            pause = slot.backoff.died()
            if pause:
                self._tell(f"{self._named(slot)} is started again in {pause:g} s: {slot.message}")
            await asyncio.sleep(pause)

    async def _one_life(self, slot: Slot) -> None:
        slot.generation += 1
        config = worker_config(self.pool, slot.name, log_format="json")
        pid, port = await self._nursery.spawn(config, self._token)
        slot.pid, slot.port = pid, port
        ended = self._ended[pid] = self._children.expect(pid)
        self._changed()
        probing = asyncio.ensure_future(self._probe(slot))
        try:
            parts: list[asyncio.Future[Any]] = [ended, probing]
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():  # frozen
                child_processes.send(pid, signal.SIGKILL)
            code = await ended
        finally:
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)
        self._dead(slot, code)

    def _dead(self, slot: Slot, code: int) -> None:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        last = self.last_words.pop(slot.name, "")
        slot.message = f"{slot.name} {how}" + (f": {last}" if last else "")
        if not slot.stopping:
            self._tell(f"{self._named(slot)} {how}" + (f": {last}" if last else ""))
        del self._ended[slot.pid]
        slot.pid, slot.ready = 0, False
        self._changed()

    async def _probe(self, slot: Slot) -> None:
        """Returns when the worker has not answered for too long."""
        unanswered, patience = 0, STARTING_PROBES
        while unanswered < patience:
            found = await probe(self._http, slot.port)
            unanswered = 0 if found.answered else unanswered + 1
            if found.answered:
                patience = FROZEN_PROBES
            self._note(slot, ready=found.ready, message=found.message)
            await asyncio.sleep(READY_SECONDS if found.ready else STARTING_SECONDS)
        self._tell(f"{self._named(slot)} does not answer, and is killed")

    def _note(self, slot: Slot, *, ready: bool, message: str) -> None:
        slot.message = message
        if ready:
            slot.backoff.well()
        if ready != slot.ready:
            slot.ready = ready
            self._tell(f"{self._named(slot)} is {'ready' if ready else 'not ready ' + message}")
            self._changed()

    def _named(self, slot: Slot) -> str:
        return f"worker {slot.name} of pool {self.pool.metadata.name}"

    # the end

    async def stop(self) -> None:
        """SIGTERM to all, and wait; who has not ended in time is killed by the launcher."""
        for slot in self.slots:
            slot.stopping = True
            if slot.pid:
                child_processes.send(slot.pid, signal.SIGTERM)
        if self._ended:
            await asyncio.wait(self._ended.values(), timeout=self.pool.spec.drain_seconds + 5)
