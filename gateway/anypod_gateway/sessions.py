"""Where a session's calls go: to the worker that the store has pinned it to, in their order.

A session is pinned at its first call, and stays where it is while its worker is there. When the
worker is lost it is pinned anew and goes on from its state, or ends, as the pool says. Whoever
looks for a session's worker holds the session's turn, so that calls are sent as they came.
"""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from anypod.api.problems import AnyPodError, Problem, error
from anypod.resources import workerpool
from anypod.store.session_cache import SessionCache
from anypod.store.sessions import Pin, SessionEnded, SessionStore, StateConflict
from anypod.wire.messages import PYTHON, EndSession
from anypod_gateway import session_runs
from anypod_gateway.admission import Admission, Line
from anypod_gateway.attempts import Attempt
from anypod_gateway.errands import Errands
from anypod_gateway.executions import ExecutionRequest
from anypod_gateway.groups import Share
from anypod_gateway.pins import Pins
from anypod_gateway.renewals import Renewals
from anypod_gateway.roster import Roster
from anypod_gateway.session_runs import SessionRun
from anypod_gateway.turns import TooMany, Turns
from anypod_gateway.workers import Worker

log = logging.getLogger(__name__)

CHANCE_SECONDS = 2.0
"""For a worker that cannot be reached to come back before its sessions are taken from it."""
LOOK_AGAIN_SECONDS = 0.05
MAX_STEPS = 10
"""Moves and ends that one call follows."""
SLACK_SECONDS = 0.25
"""So that whoever waits can say for what, at the deadline."""


@dataclass(slots=True)
class Search:
    """What it takes to look for a session's worker."""

    key: str
    came: float
    deadline: float
    avoid: Collection[str] = ()
    kind: str = PYTHON
    """Of the program that is to run there."""


class Sessions:
    def __init__(
        self,
        store: SessionStore,
        roster: Roster,
        admission: Admission,
        errands: Errands,
        *,
        policy: Callable[[], workerpool.Sessions],
        grace: Callable[[], float],
        on_event: Callable[[str], None],
    ) -> None:
        """``on_event`` hears of sessions that are ``created``, ``moved`` or ``lost``."""
        self.line = Line(
            admission,
            self._take_room,
            self._give_room_back,
            self._why_no_room,
            roster.all_know,
        )
        """Of those that wait for a worker with room for a session."""
        self._store = store
        self._roster = roster
        self._admission = admission
        self._errands = errands
        self._policy = policy
        self._grace = grace
        self._on_event = on_event
        self._turns = Turns()
        self._orders = itertools.count()
        self._renewals = Renewals(store, errands)
        self._pins = Pins()
        self._running: dict[str, set[Attempt]] = {}

    def use(self, cache: SessionCache) -> None:
        """``left`` is to be told of the pins that hold no more."""
        self._pins.use(cache)

    # calls

    def course(self, request: ExecutionRequest, key: str, *, stream: bool) -> SessionRun:
        return SessionRun(
            request,
            key,
            next(self._orders),
            self._store,
            stream=stream,
            grace=self._grace(),
            errands=self._errands,
        )

    async def begin(self, course: SessionRun, *, stream: bool = False) -> Attempt:
        """Send it to the session's worker. Raises what kept it from being sent."""
        search = Search(course.key, course.came, course.deadline, course.avoid, course.kind)
        try:
            attempt = None
            while attempt is None:
                attempt = await self._begin_in_turn(search, course, stream=stream)
        except AnyPodError as failure:
            raise course.named(failure) from None
        except TimeoutError:
            raise course.error(
                "deadline-exceeded", "the session's worker was not found in time"
            ) from None
        self._note_running(course.key, attempt)
        return attempt

    async def _begin_in_turn(
        self, search: Search, course: SessionRun, *, stream: bool
    ) -> Attempt | None:
        await self._enter(search, course.order)
        try:
            async with asyncio.timeout_at(course.deadline + SLACK_SECONDS):
                worker, pin = await self._find(search, course)
            if self._turns.has_earlier(course.key, course.order):
                return None  # calls that the lost worker had are sent again first
            return course.begin_at(worker, pin, self._policy().on_busy, stream=stream)
        finally:
            self._turns.leave(course.key)

    async def open(self, key: str) -> Pin:
        """The session's pin; the session is created if there is none."""
        now = asyncio.get_running_loop().time()
        search = Search(key, now, now + self._admission.limits().max_wait_seconds)
        await self._enter(search, next(self._orders))
        try:
            return await self._pins.current(key) or await self._create(search)
        finally:
            self._turns.leave(key)

    async def _enter(self, search: Search, order: int) -> None:
        patience = search.came + self._admission.limits().max_wait_seconds
        try:
            await self._turns.enter(search.key, order, min(search.deadline, patience))
        except TooMany:
            raise error("queue-full", "too many calls of the session wait", retry_after=1) from None
        except TimeoutError:
            what = "earlier calls of the session were waiting for its worker"
            if search.deadline <= patience:
                raise error("deadline-exceeded", what) from None
            raise error("no-worker", what, retry_after=1) from None

    def _note_running(self, key: str, attempt: Attempt) -> None:
        running = self._running.setdefault(key, set())
        running.add(attempt)
        attempt.future.add_done_callback(lambda _: self._note_ended(key, attempt))

    def _note_ended(self, key: str, attempt: Attempt) -> None:
        running = self._running[key]
        running.discard(attempt)
        if not running:
            del self._running[key]

    # where it is

    async def _find(self, search: Search, course: SessionRun) -> tuple[Worker, Pin]:
        if not self._roster.all_know(search.kind) and (why := self._roster.lacks(search.kind)):
            raise course.unknown_kind(why)
        await self._heed_refusal(search, course)
        for _ in range(MAX_STEPS):
            pin = await self._pins.current(search.key) or await self._create(search)
            worker = await self._reach(pin)
            if worker is None:
                await self._leave_worker(search, pin)
            elif search.kind not in worker.kinds:
                await self._leave_unable(search, course, pin)
            elif await self._renewals.keep(pin):
                return worker, pin
            else:
                self._forget(pin)
        raise error("session-state-conflict", "the session moves or ends too often")

    async def _heed_refusal(self, search: Search, course: SessionRun) -> None:
        pin = course.pin
        if pin is None:
            return
        if course.is_stale:
            now = await self._store.get(search.key)
            if now is None:
                self._forget(pin)
                raise session_runs.ended(search.key)
            self._pins.learn(now)
        elif course.is_crowded and await self._holds(pin):
            await self._move(search, pin)

    async def _create(self, search: Search) -> Pin:
        async def create(worker: str, instance: str) -> Pin:
            asked_at = asyncio.get_running_loop().time()
            ttl = self._policy().ttl_seconds
            pin, is_ours = await self._store.create(search.key, worker, instance, ttl)
            if is_ours:
                self._renewals.born(pin, asked_at)
                self._on_event("created")
            return pin

        return await self._pin_to_some_worker(search, create)

    async def _pin_to_some_worker(
        self, search: Search, write: Callable[[str, str], Awaitable[Pin]]
    ) -> Pin:
        worker = self.line.at_once(search.avoid, None, search.kind)
        if worker is None:
            worker = await self.line.wait(
                search.came, search.deadline, search.avoid, None, search.kind
            )
        assert worker.hello is not None
        try:
            pin = await write(worker.name, worker.hello.instance)
        except StateConflict as conflict:
            raise error("session-state-conflict", str(conflict)) from None
        finally:
            worker.coming_sessions -= 1
        self._pins.learn(pin)
        return pin

    async def _reach(self, pin: Pin) -> Worker | None:
        """The worker's process that has the session; None when it is lost, or as good as lost."""
        came = asyncio.get_running_loop().time()
        while True:
            worker = self._roster.workers.get(pin.worker)
            if worker is not None and worker.is_placeable and worker.is_process(pin.instance):
                return worker
            left = self._until(worker, pin, came) - asyncio.get_running_loop().time()
            if left <= 0:
                return None
            try:
                async with asyncio.timeout(min(left, LOOK_AGAIN_SECONDS)):
                    await self._roster.news()
            except TimeoutError:
                pass

    def _until(self, worker: Worker | None, pin: Pin, came: float) -> float:
        """How long the worker that has the session is waited for."""
        if self._roster.has_departed(pin.instance):
            return came
        if worker is None:
            return came + CHANCE_SECONDS  # a new worker, of which another gateway knows already
        if worker.is_leaving or worker.is_refused:
            return came
        if worker.is_up:
            return came + CHANCE_SECONDS if worker.is_process(pin.instance) else came
        return worker.unreachable_since + CHANCE_SECONDS

    # where it goes

    async def _leave_worker(self, search: Search, pin: Pin) -> None:
        await self._finish_there(pin, search.deadline)
        if not await self._holds(pin):
            return
        if self._policy().on_worker_loss == "restore":
            await self._move(search, pin)
            return
        log.info("session %s is lost with worker %s", pin.key, pin.worker)
        await self._store.end(pin.key)
        self._forget(pin)
        self._on_event("lost")
        problem = session_runs.lost(pin.key)
        self._turns.fail(pin.key, problem)
        raise AnyPodError(problem)

    async def _leave_unable(self, search: Search, course: SessionRun, pin: Pin) -> None:
        """For a worker that can run the program. What is only in memory stays behind, so a session
        that must not lose that stays too."""
        if self._policy().on_worker_loss != "restore":
            raise course.unknown_kind(
                f"the session is on worker {pin.worker}, which cannot run programs of kind "
                f"{search.kind}, and the pool does not move sessions (sessions.onWorkerLoss)"
            )
        await self._finish_there(pin, search.deadline)
        if await self._holds(pin):
            await self._move(search, pin)

    async def _holds(self, pin: Pin) -> bool:
        """Whether the store still says so; else what it says is learnt."""
        now = await self._store.get(pin.key)
        if now is not None and now.epoch == pin.epoch:
            return True
        self._forget(pin)
        if now is not None:
            self._pins.learn(now)
        return False

    async def _finish_there(self, pin: Pin, deadline: float) -> None:
        """A worker that is leaving finishes what runs; moving the session would void it."""
        running = [attempt.future for attempt in self._running.get(pin.key, ())]
        if running:
            left = deadline - asyncio.get_running_loop().time()
            await asyncio.wait(running, timeout=max(0.0, left))

    async def _move(self, search: Search, pin: Pin) -> None:
        async def repin(worker: str, instance: str) -> Pin:
            moved = await self._store.repin(pin, worker, instance)
            self._on_event("moved")
            return moved

        search.avoid = (*search.avoid, pin.worker)
        try:
            moved = await self._pin_to_some_worker(search, repin)
        except SessionEnded:
            self._forget(pin)
            return
        log.info("session %s moves from %s to %s", pin.key, pin.worker, moved.worker)

    # what is known

    def left(self, pin: Pin) -> None:
        """It holds no more: the session ended, expired or moved."""
        self._forget(pin)
        worker = self._roster.workers.get(pin.worker)
        if worker is not None:
            worker.end_session(EndSession(pin.key, pin.epoch), pin.instance)

    def _forget(self, pin: Pin) -> None:
        if self._pins.forget(pin):
            self._renewals.forget(pin.key)

    # room for sessions

    def _holds_sessions(self, worker: Worker) -> int:
        assert worker.hello is not None
        pinned = self._pins.at(worker.hello.instance)
        return max(worker.sessions, pinned) + worker.coming_sessions

    def _take_room(self, avoid: Collection[str], _: Share | None, kind: str) -> Worker | None:
        worker = self._roster.for_session(self._holds_sessions, avoid, kind)
        if worker is not None:
            worker.coming_sessions += 1
        return worker

    def _give_room_back(self, worker: Worker, _: Share | None = None) -> None:
        worker.coming_sessions -= 1
        self.line.serve()

    def _why_no_room(self) -> str:
        if self._roster.ready:
            return "no worker of the pool has room for another session"
        return self._roster.describe()

    # time

    def tick(self) -> None:
        pins = (self._pins.known(key) for key in self._running)
        self._renewals.keep_running(pin for pin in pins if pin is not None)

    def sweep(self) -> None:
        """What is left of sessions that have ended unseen is forgotten; called now and then."""
        self._renewals.sweep()

    def close(self, problem: Problem) -> None:
        self.line.close(problem)
        self._turns.fail_all(problem)
