"""One pool with all that runs it: its workers, queue, sessions, and its watch of the store."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable

import aiohttp

from anypod.api.pools import WorkerDocument
from anypod.api.problems import AnyPodError, Problem, error
from anypod.resources import WorkerPool, WorkerPoolSpec
from anypod.store.job_records import Job
from anypod.store.jobs import JobStore
from anypod.store.keys import PoolKeys
from anypod.store.kv import KeyValue
from anypod.store.pool_watch import PoolWatch
from anypod.store.program_cache import ProgramCache
from anypod.store.program_records import Head, RevisionNotFound
from anypod.store.programs import ProgramStore
from anypod.store.session_cache import SessionCache
from anypod.store.sessions import SessionStore
from anypod.wire.codec import max_message_bytes
from anypod.wire.messages import Code, StoreSeen, Usage
from anypod_gateway.admission import Admission, Line
from anypod_gateway.discovery import DesiredPool, Endpoint
from anypod_gateway.dispatch import Dispatcher
from anypod_gateway.errands import Errands, vital
from anypod_gateway.events import Events
from anypod_gateway.groups import allowed
from anypod_gateway.hearsay import TICKS_TO_SAY, why_left_behind
from anypod_gateway.jobs.documents import ending
from anypod_gateway.jobs.noted import Noted
from anypod_gateway.jobs.openings import Room
from anypod_gateway.jobs.queue import Hooks, Jobs
from anypod_gateway.jobs.work import Surroundings
from anypod_gateway.links import TICK_SECONDS, Identity
from anypod_gateway.once import Once
from anypod_gateway.optimised import Optimised
from anypod_gateway.roster import Roster
from anypod_gateway.sessions import Sessions
from anypod_gateway.shares import Share
from anypod_gateway.standing import document
from anypod_gateway.webhooks.deliveries import Deliveries, Site
from anypod_gateway.webhooks.deliveries import Hooks as WebhookHooks
from anypod_gateway.workers import Worker

TICKS_TO_SWEEP = 100
LAST_COMMITS_SECONDS = 5.0
"""For what sessions and keyed runs have still to tell the store when a gateway ends."""


class Pool:
    """Made on the loop; ``start`` begins, ``close`` ends all of it."""

    def __init__(
        self,
        desired: DesiredPool,
        store: KeyValue,
        identity: Identity,
        http: aiohttp.ClientSession,
        events: Events,
        site: Site,
    ) -> None:
        self.name = desired.name
        self.manifest: WorkerPool = desired.manifest
        self._message = desired.message
        self._store = store
        self._keys = PoolKeys(desired.namespace, desired.manifest.metadata.name)
        self._identity = identity
        self._http = http
        self._events = events
        self._errands = Errands()
        self.watch = PoolWatch(store, self._keys, called=self.name)
        self.cache = ProgramCache(store, self._keys, self.watch)
        self.sessions = SessionStore(store, self._keys, confirm=self.watch.confirm)
        self.roster = Roster(self._make_worker, self._serve, self._on_link)
        self._admission = Admission(lambda: self.spec.queue)
        self._line = Line(
            self._admission,
            self.roster.take_executor,
            Worker.release,
            self.roster.describe,
            self.roster.all_know,
        )
        self._session_calls = Sessions(
            self.sessions,
            self.roster,
            self._admission,
            self._errands,
            policy=lambda: self.spec.sessions,
            grace=self._grace,
            on_event=lambda what: events.session(self.name, what),
        )
        self._session_calls.use(
            SessionCache(store, self._keys, self.watch, self._session_calls.left)
        )
        self.runner = Dispatcher(
            self._admission,
            self._line,
            self._session_calls,
            self._errands,
            grace=self._grace,
            on_retry=lambda why: events.retried(self.name, why),
            on_usage=self._note_usage,
            allowed=self._allowed,
            lacks=self.roster.lacks,
        )
        self.once = Once(store, self._keys, self._errands, self._keep_seconds)
        self.jobs = Jobs(
            store,
            self._keys,
            identity.gateway,
            limits=lambda: self.spec.jobs,
            room=self._room,
            around=self._around,
            hooks=Hooks(
                begun=lambda: events.under_way(True),
                ended=lambda: events.under_way(False),
                final=lambda state: events.job(self.name, state),
                is_leaving=events.is_leaving,
                fault=events.fault,
            ),
        )
        self.watch.add(self._keys.jobs.watched, self.jobs.view)
        self.webhooks = self._webhooks(site)
        self.watch.add(self._keys.jobs.deliveries, self.webhooks.view)
        self.share = Share(self.roster.capacity)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def spec(self) -> WorkerPoolSpec:
        return self.manifest.spec

    def _note_usage(self, usage: Usage) -> None:
        """Only of LMs that there are: a program can forge what its worker passes on."""
        if any(lm.name == usage.lm for lm in self.spec.lms):
            self._events.lm(self.name, usage)

    def start(self, desired: DesiredPool) -> None:
        self._tasks = [
            vital(self.watch.run(), f"the watch of pool {self.name}", self._events.fault),
            vital(self._tick(), f"the clock of pool {self.name}", self._events.fault),
        ]
        self.jobs.start()
        self.webhooks.start()
        self.apply(desired)

    def apply(self, desired: DesiredPool) -> None:
        self.manifest, self._message = desired.manifest, desired.message
        self.roster.apply(desired.endpoints)
        self._serve()  # the queue's limits may be others now

    async def close(self, why: Problem) -> None:
        """What waits gets ``why``."""
        self._admission.closed = why
        self._line.close(why)
        self._session_calls.close(why)
        await self.webhooks.close()
        await self.jobs.close()
        await self._errands.close(LAST_COMMITS_SECONDS)
        await self.once.close()
        await self.roster.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # what handlers ask

    def programs(self, session: str | None = None) -> ProgramStore:
        """The pool's, or the session's own."""
        return ProgramStore(self._store, self._keys, confirm=self.watch.confirm, session=session)

    async def open_session(self, key: str) -> None:
        """Create the session if there is none."""
        await self._session_calls.open(key)

    def workers(self) -> list[WorkerDocument]:
        """In the order of their names."""
        return [document(worker, self.name) for _, worker in sorted(self.roster.workers.items())]

    def queued(self) -> int:
        return self._admission.waiting

    def in_flight(self) -> int:
        """Executors that this gateway's executions take, or are about to."""
        return sum(worker.in_flight for worker in self.roster.workers.values())

    def message(self) -> str:
        return self._message

    def not_ready(self) -> str | None:
        if not self.watch.synced.is_set():
            return f"what the store has of pool {self.name} is not known yet"
        return None

    def has_links(self) -> bool:
        """Without them nothing can be run."""
        return any(worker.is_up for worker in self.roster.workers.values())

    def left_behind(self) -> str | None:
        """Why what is known of the store could be old."""
        told = (worker.hearsay for worker in self.roster.workers.values() if worker.is_up)
        return why_left_behind(self.watch.knowledge(), told, asyncio.get_running_loop().time())

    # parts

    def _make_worker(self, endpoint: Endpoint, roster: Roster) -> Worker:
        limits = self.spec.limits
        largest = max_message_bytes(limits.body_bytes, limits.log_bytes)
        return Worker(
            self.manifest.metadata.name,
            endpoint,
            self._identity,
            self._http,
            roster,
            largest,
            self.name,
        )

    def _serve(self) -> None:
        self._line.serve()
        self._session_calls.line.serve()

    def _room(self) -> Room:
        ready = self.roster.ready
        spare = sum(max(0, one.executors - one.in_flight - one.others) for one in ready)
        has_waiting = self._admission.waiting > 0
        return Room(
            executors=sum(one.executors for one in ready),
            spare=0 if has_waiting else spare,
            places=lambda revision: 0 if has_waiting else self.roster.places(revision),
            allowed=self._allowed,
        )

    def _keep_seconds(self) -> float:
        """Of a keyed run's record, which must not end before its run."""
        return max(self.spec.idempotency_ttl_seconds, self.spec.limits.max_timeout_seconds)

    def _webhooks(self, site: Site) -> Deliveries:
        events = self._events
        return Deliveries(
            self._store,
            self._keys,
            self.name,
            owner=self._identity.gateway,
            lease=self.jobs.lease,
            site=site,
            hooks=WebhookHooks(
                policy=lambda: self.spec.webhooks,
                message=lambda job: ending(self.name, job),
                to_come=lambda caller: self.jobs.view.webhooks[caller],
                attempted=lambda outcome: events.webhook(self.name, outcome),
                is_leaving=events.is_leaving,
                fault=events.fault,
            ),
        )

    def _around(self, store: JobStore, holds: Callable[[int], bool]) -> Surroundings:
        return Surroundings(
            store=store,
            run=Noted(self.runner, self.name, self._events).run,
            code=self._code_of,
            revised=Optimised(self.programs, self.runner, lambda: self.spec).revised,
            holds=holds,
            is_gone=self.roster.is_gone,
            is_well=self.roster.is_well,
            grace=self._grace,
            keep_seconds=lambda: self.spec.jobs.ttl_seconds,
            check=self._check_kept,
        )

    async def _code_of(self, job: Job) -> Code:
        for head in await self._heads_of(job):
            revision = await self.cache.revision(head, job.revision)
            if revision is not None:
                return revision.code
        raise _deleted(job)

    async def _check_kept(self, job: Job) -> None:
        """Workers may have the code of what was deleted. Raises program-not-found."""
        for head in await self._heads_of(job):
            with contextlib.suppress(RevisionNotFound):
                await self.cache.resolve(head, job.revision)
                return
        raise _deleted(job)

    async def _heads_of(self, job: Job) -> list[Head]:
        """Of the session's own program, and of the pool's."""
        owners = dict.fromkeys((job.session, None))
        heads = [await self.cache.head(job.program, owner) for owner in owners]
        return [head for head in heads if head is not None]

    def _allowed(self, concurrency: int) -> int:
        return allowed(concurrency, self.spec)

    def _grace(self) -> float:
        return self.spec.limits.interrupt_grace_seconds

    def _on_link(self, worker: str, is_up: bool) -> None:
        self._events.link(self.name, worker, is_up)

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        for number in itertools.count(1):
            await asyncio.sleep(TICK_SECONDS)
            self.roster.tick(loop.time())
            self._session_calls.tick()
            if number % TICKS_TO_SAY == 0 and self.watch.synced.is_set():
                known = self.watch.knowledge()
                self.roster.say(StoreSeen(known.silent_seconds, known.changes))
            if number % TICKS_TO_SWEEP == 0:
                self._session_calls.sweep()


def _deleted(job: Job) -> AnyPodError:
    return error("program-not-found", f"revision {job.revision} of {job.program} was deleted")
