"""The jobs of one pool in this gateway: accepting them, and choosing what to claim next.

A job is claimed when there is a place for it and no call waits for one, so calls go first; but one
job of the pool may always run, so that jobs come to an end under any load. A slot of the store for
each job that runs bounds them over all gateways.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from anypod.api.problems import error
from anypod.resources.workerpool import Jobs as Limits
from anypod.store.checks import Write
from anypod.store.job_records import Claim, Job, OpenJob
from anypod.store.job_view import JobView
from anypod.store.jobs import Ended, Held, JobStore, Loaded
from anypod.store.keys import PoolKeys
from anypod.store.kv import Conflict, KeyValue, StoreUnavailable
from anypod.store.records import UnreadableRecord
from anypod.wire.messages import Code
from anypod_gateway.errands import Errands, vital
from anypod_gateway.jobs.ends import attempt_of, cancelled, lost
from anypod_gateway.jobs.lease import RENEW_SECONDS, Lease
from anypod_gateway.jobs.openings import Openings, Room
from anypod_gateway.jobs.work import Surroundings, Work

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""At the latest after that it is seen that an executor is free, or that a job's time has come."""
RETRY_AFTER_SECONDS = 5
CLAIM_AGAIN_SECONDS = 1.0
CLOSE_SECONDS = 10.0
_UNKNOWN = OpenJob(id="")
"""In place of a job that is claimed, and of which nothing else is known yet, or any more."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the gateway hears; nothing may wait or raise."""

    begun: Callable[[], None]
    """A job runs here now: the gateway should not go before ``ended``."""
    ended: Callable[[], None]
    final: Callable[[str], None]
    """The state that a job was brought to."""
    is_leaving: Callable[[], bool]
    """Nothing new is to be begun."""
    fault: Callable[[str], None]


class Jobs:
    def __init__(
        self,
        store: KeyValue,
        keys: PoolKeys,
        name: str,
        *,
        limits: Callable[[], Limits],
        room: Callable[[], Room],
        around: Callable[[JobStore, Callable[[int], bool]], Surroundings],
        hooks: Hooks,
    ) -> None:
        """``name``: of this gateway."""
        self.store = JobStore(store, keys)
        self.view = JobView(keys.jobs, self._on_change)
        """To be added to the pool's watch."""
        self.lease = Lease(store, lambda: self._around.grace())
        """By which all that is claimed here holds."""
        self._around = around(self.store, self.lease.holds)
        self._name = name
        self._limits = limits
        self._room = room
        self._hooks = hooks
        self._errands = Errands()
        self._works: dict[str, Work] = {}
        self._taking: dict[str, int] = {}
        """Slots of what is claimed here, or is about to be."""
        self._left_alone: set[tuple[str, int]] = set()
        self._wanted = asyncio.Event()
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [
            vital(self._choose(), "the choosing of jobs", self._hooks.fault),
            vital(self._renew(), "the lease of jobs", self._hooks.fault),
        ]

    async def close(self) -> None:
        """What runs is broken off, and left to others if it may run again: at once what has
        certainly stopped by then, and when the lease ends what may not have."""
        self._closing = True
        for work in list(self._works.values()):
            work.stop()
        all_left = await self._errands.close(CLOSE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if not all_left:
            log.warning("jobs: what may still run is left to others when its lease ends")
            return
        with contextlib.suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(RENEW_SECONDS):
                await self.lease.end()

    # what handlers ask

    async def accept(
        self,
        job: Job,
        inputs: bytes,
        code: Code | None,
        *,
        also: Sequence[Write] = (),
        when: Sequence[tuple[str, int]] = (),
    ) -> Job:
        """Raises AnyPodError, Conflict, StoreUnavailable, ValueTooLarge."""
        depth = self._limits().depth
        if len(self.view.open) >= depth:
            raise error(
                "queue-full",
                f"{len(self.view.open)} jobs are open already; the pool takes {depth}",
                retry_after=RETRY_AFTER_SECONDS,
            )
        return await self.store.accept(job, inputs, code, also=also, when=when)

    async def cancel(self, job: str) -> Job | None:
        """The job as it is then; None when there is none."""
        while True:
            entry = await self.store.entry(job)
            found = await self.store.get(job)
            if found is None or not found.is_open:
                return found
            try:
                if found.state == "queued":
                    ended = await self._end(cancelled(found), entry)
                    self._hooks.final("cancelled")
                    return ended
                await self.store.cancel(job, entry)
            except Conflict:
                continue
            return found

    # choosing

    def _on_change(self, job: str) -> None:
        work = self._works.get(job)
        if work is not None and job in self.view.cancels:
            work.cancel()
        self._wanted.set()

    async def _choose(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wanted.wait()
            self._wanted.clear()
            self._take_some()

    def _take_some(self) -> None:
        if self._closing or self._hooks.is_leaving() or not self.view.open:
            return
        room = self._room()
        if not room.executors:
            return
        openings = self._openings(room)
        is_guaranteed = not self.view.running and not self._taking
        for job in self.view.may_run(datetime.now(UTC)):
            if job.id in self._taking or (job.id, job.version) in self._left_alone:
                continue
            slot = self._free_slot(openings.slots(job))
            if slot is None or not openings.is_within_limit(job):
                return
            if not openings.take_place(job) and not is_guaranteed:
                return
            is_guaranteed = False
            openings.count(job)
            self._take(job, slot)

    def _openings(self, room: Room) -> Openings:
        view, unseen = self.view, self._taking.keys() - self.view.claims.keys()
        running = [view.open.get(id_, _UNKNOWN) for id_ in (*view.claims, *unseen)]
        openings = Openings(room, self._limits().concurrency, running)
        for id_ in unseen:  # their places are not taken yet
            openings.take_place(view.open.get(id_, _UNKNOWN))
        return openings

    def _free_slot(self, slots: int) -> int | None:
        """The highest, so that the low ones are left to jobs that have only these."""
        taken = self._taking.values()
        candidates = (n for n in range(slots - 1, -1, -1) if n not in self.view.slots)
        return next((n for n in candidates if n not in taken), None)

    def _take(self, job: OpenJob, slot: int) -> None:
        self._taking[job.id] = slot
        self._hooks.begun()
        self._errands.run(self._taken(job, slot))

    async def _taken(self, job: OpenJob, slot: int) -> None:
        try:
            state = await self._bring_on(job, slot)
            if state is not None:
                self._hooks.final(state)
        except (Conflict, StoreUnavailable) as why:
            log.info("job %s is not taken: %s", job.id, why)
        except UnreadableRecord as why:
            log.warning("job %s is left alone: %s", job.id, why)
            self._left_alone.add((job.id, job.version))
        finally:
            del self._taking[job.id]
            self._hooks.ended()
            self._wanted.set()

    async def _bring_on(self, entry: OpenJob, slot: int) -> str | None:
        loaded = await self.store.load(entry.id)
        if loaded is None:  # it has just ended
            return None
        job = loaded.job
        if entry.id in self.view.cancels:
            return (await self._end(cancelled(job), entry.version)).state
        if job.state == "running" and not job.may_run_again:
            return (await self._end(lost(job), entry.version)).state
        held = await self._claim(job, entry.version, slot)
        return await self._work(held, loaded)

    async def _end(self, ended: Ended, entry: int) -> Job:
        return await self.store.end(ended, entry, self._around.keep_seconds())

    async def _claim(self, job: Job, entry: int, slot: int) -> Held:
        async with self.lease.claiming() as lease:
            claimed = attempt_of(job, datetime.now(UTC))
            claim = Claim(owner=self._name, slot=slot)
            pause = self.view.pause(job.id)
            make = self.store.claim
            while True:
                try:
                    return await make(claimed, entry, claim, lease, pause=pause)
                except StoreUnavailable as away:
                    if self._closing:
                        raise
                    # It may be written; if nobody were at it then, it would be claimed for ever.
                    log.warning("job %s: whether it is claimed is not known: %s", job.id, away)
                await asyncio.sleep(CLAIM_AGAIN_SECONDS)
                make = self.store.claim_again

    async def _work(self, held: Held, loaded: Loaded) -> str | None:
        work = self._works[held.job.id] = Work(self._around, held, loaded)
        if held.job.id in self.view.cancels:
            work.cancel()
        if self._closing:
            work.stop()
        try:
            return await work.run()
        finally:
            del self._works[held.job.id]

    # holding

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                async with asyncio.timeout(RENEW_SECONDS):
                    if not await self.lease.renew():
                        log.warning("jobs: this gateway's claims have ended")
            except (StoreUnavailable, TimeoutError) as away:
                log.warning("jobs: the store does not answer: %s", away)
            self._let_go()

    def _let_go(self) -> None:
        """What is others' now; and what could become theirs, as long as nobody knows."""
        for work in list(self._works.values()):
            lease = work.lease
            is_doubtful = not self.lease.holds(lease) and work.may_be_taken_over
            if is_doubtful or self.lease.is_over(lease):
                work.stop()
