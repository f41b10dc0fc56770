"""One worker as this gateway knows it: where it is, how it is, and what runs there for us."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import aiohttp

from anypod.api.problems import error
from anypod.wire.codec import BadMessage
from anypod.wire.messages import (
    AHEAD_PER_EXECUTOR,
    Cancel,
    Check,
    Checked,
    Draining,
    EndSession,
    Execute,
    Load,
    Message,
    OthersSaw,
    Program,
    Refused,
    Result,
    SessionState,
    StoreSeen,
    ToGateway,
    WorkerHello,
)
from anypod_gateway.attempts import Attempt, Failed, Lost, Overdue
from anypod_gateway.discovery import Endpoint
from anypod_gateway.finite import can_be_told, with_finite_numbers
from anypod_gateway.groups import Groups, Share
from anypod_gateway.hearsay import Hearsay
from anypod_gateway.links import Identity, Link, Target

log = logging.getLogger(__name__)

ABANDONED_SECONDS = 30.0
"""For a worker to answer a cancel; then its executor is taken for free again."""

FULL_SECONDS = 0.1
"""A worker that has refused for want of an executor is asked again after that long, unless it has
said something before."""
SMALL_RETRY_SECONDS = 30
"""Until there may be other workers, that take larger messages."""
ENDS_KEPT = 10_000
"""Ends of sessions that a worker is told when its link is up again."""

QUICK_SECONDS = 0.002
"""Where executions take less than this, a worker is sent some ahead: its executors would spend
more time on waiting for the next one than on running it. Longer ones wait here, for any worker."""
PACE_SAMPLES = 16
"""Over about so many executions their time is averaged."""

_NOT_READY: frozenset[str] = frozenset({"draining", "not-ready"})


class Watcher(Protocol):
    """Whoever places executions."""

    def changed(self, worker: "Worker") -> None:
        """It may be given work now, or may no more."""

    def freed(self, worker: "Worker") -> None:
        """It may have an executor to spare."""

    def linked(self, worker: "Worker", *, up: bool) -> None:
        """The link to it is up now, or down."""

    def departed(self, instance: str) -> None:
        """This process of a worker is no more."""


class Worker:
    """A ``links.Peer``, a ``placement.Candidate`` and an ``attempts.Holder``."""

    def __init__(
        self,
        pool: str,
        endpoint: Endpoint,
        identity: Identity,
        http: aiohttp.ClientSession,
        watcher: Watcher,
        max_message_bytes: int,
        called: str = "",
    ) -> None:
        """``called``: the pool as callers name it, if that is not ``pool``."""
        self.name = endpoint.name
        self.pool = called or pool
        self.endpoint = endpoint
        self.hello: WorkerHello | None = None
        """Of the process that was last linked."""
        self.load: Load | None = None
        self.executors = 0
        self.kinds: frozenset[str] = frozenset()
        """Of programs that it can run."""
        self.in_flight = 0
        self.groups = Groups()
        self.others = 0
        self._pace = 1.0
        self.is_full = False
        self.is_placeable = False
        self.coming_sessions = 0
        """That are about to be pinned here."""
        self.hearsay: Hearsay | None = None
        self.unreachable_since = asyncio.get_running_loop().time()
        self._watcher = watcher
        self._draining = False
        self._not_ready = False
        self._open: dict[str, Attempt] = {}
        self._ends: dict[str, EndSession] = {}
        target = Target(
            pool, endpoint.name, endpoint.host, endpoint.port, max_message_bytes, called
        )
        self._link = Link(target, identity, http, self)
        self._link.is_expected = endpoint.ready

    def start(self) -> None:
        self._link.start()

    async def close(self) -> None:
        await self._link.close()

    # how it is

    @property
    def is_up(self) -> bool:
        return self._link.is_up

    @property
    def is_refused(self) -> bool:
        """Nothing listens at its address."""
        return self._link.is_refused

    @property
    def is_draining(self) -> bool:
        """It has said so."""
        return self._draining

    @property
    def is_leaving(self) -> bool:
        return self._draining or self.endpoint.terminating

    @property
    def is_idle(self) -> bool:
        return not self._open

    @property
    def ahead(self) -> int:
        return AHEAD_PER_EXECUTOR * self.executors if self._pace < QUICK_SECONDS else 0

    @property
    def sessions(self) -> int:
        """Executors of sessions that it holds, as it has told."""
        return self.load.sessions if self.load is not None else 0

    @property
    def max_sessions(self) -> int:
        return self.hello.max_sessions if self.hello is not None else 0

    def is_process(self, instance: str) -> bool:
        """Whether the process that is linked, or last was, is that one."""
        return self.hello is not None and self.hello.instance == instance

    def update(self, endpoint: Endpoint) -> None:
        """It has not moved, but something else is said of it."""
        self.endpoint = endpoint
        self._link.is_expected = endpoint.ready and not endpoint.terminating
        self._review()

    def retire(self) -> None:
        """It is not there any more, as far as placement goes; what runs may still end."""
        self.update(replace(self.endpoint, terminating=True))

    # what runs there

    def reserve(self) -> None:
        """Take one of its executors; followed by ``run`` of a shared attempt, or by ``release``."""
        self.in_flight += 1

    def enter(self, share: Share) -> None:
        """Take a place in an executor, as ``reserve`` takes one."""
        knows_groups = self.hello is not None and self.hello.groups
        self.in_flight += self.groups.enter(share, share.concurrency if knows_groups else 1)

    def release(self, share: Share | None = None) -> None:
        self._free(share)
        self._watcher.freed(self)

    def _free(self, share: Share | None) -> None:
        self.in_flight -= 1 if share is None else self.groups.leave(share)

    def run(self, attempt: Attempt, message: Execute | Check) -> None:
        """Begin the attempt; ``message`` has its id."""
        if not self._link.is_up or attempt.id in self._open:
            if attempt.shared:
                self.release(attempt.share)
            attempt.finish(Lost(started=False))
            return
        self._open[attempt.id] = attempt
        self._link.send(message)

    def tell(self, message: Message) -> None:
        self._link.send(message)

    def say(self, seen: StoreSeen) -> None:
        """It answers with ``hearsay``, unless it is of a version that knows none."""
        if self.hello is not None and self.hello.hearsay:
            self._link.send(seen)

    def abandon(self, attempt: Attempt) -> None:
        if self._open.get(attempt.id) is not attempt:
            return
        if self._link.withdraw(attempt.id):
            self._close(attempt)
        else:  # its executor is not free before the worker says so
            attempt.overdue_at = asyncio.get_running_loop().time() + ABANDONED_SECONDS
            self._link.send(Cancel(attempt.id))

    def end_session(self, end: EndSession, instance: str) -> None:
        """If it is that process; as soon as there is a link."""
        if not self.is_process(instance):
            return
        if self._link.is_up:
            self._link.send(end)
        elif len(self._ends) < ENDS_KEPT:
            self._ends[end.session] = end

    def tick(self, now: float) -> None:
        self._link.tick()
        for attempt in [a for a in self._open.values() if a.overdue_at <= now]:
            if attempt.future.done():
                log.error("worker %s does not answer for %s", self.name, attempt.id)
                self._close(attempt)
            else:
                attempt.finish(Overdue())
                self.abandon(attempt)

    def _close(self, attempt: Attempt) -> None:
        del self._open[attempt.id]
        if attempt.shared:
            self.release(attempt.share)

    # what the link tells

    def greeted(self, hello: WorkerHello) -> None:
        before, self.hello = self.hello, hello
        if before is not None and before.instance != hello.instance:
            self._watcher.departed(before.instance)
            self._ends.clear()
        self.executors = hello.executors
        self.kinds = frozenset(hello.kinds)
        self.load = None
        self.others = 0
        self.is_full = self._draining = self._not_ready = False
        for end in self._ends.values():
            self._link.send(end)
        self._ends.clear()
        self._watcher.linked(self, up=True)
        self._review()

    def take(self, batch: list[ToGateway]) -> None:
        freed = False
        for message in batch:
            if isinstance(message, Result | Refused | Checked):
                freed |= self._take_end(message)
            elif isinstance(message, Load):
                self._take_load(message)
                freed = True
            elif isinstance(message, Draining):
                self._draining = True
                self._review()
            elif isinstance(message, OthersSaw):
                self.hearsay = Hearsay(asyncio.get_running_loop().time(), message.others)
            elif isinstance(message, WorkerHello):
                raise BadMessage("a second hello")
            else:
                attempt = self._open.get(message.id)
                if attempt is not None and can_be_told(message):
                    attempt.take(message)
        if freed:
            self._watcher.freed(self)

    def _take_end(self, message: Result | Refused | Checked) -> bool:
        attempt = self._open.pop(message.id, None)
        if attempt is None:
            return False
        if attempt.share is not None and isinstance(message, Refused):
            attempt.share.close()
        if attempt.shared:
            self._free(attempt.share)
            self.is_full = False
        if isinstance(message, Refused):
            self._take_refusal(message)
            attempt.finish(message)
        elif isinstance(message, Result):
            message = with_finite_numbers(message)
            if attempt.share is None:
                self._pace += (message.run_seconds - self._pace) / PACE_SAMPLES
            attempt.supply.deliver(attempt, message)
        else:
            attempt.finish(message)
        return attempt.shared

    def _take_refusal(self, message: Refused) -> None:
        if message.reason == "full":
            self.is_full = True
            asyncio.get_running_loop().call_later(FULL_SECONDS, self._ask_again)
        elif message.reason in _NOT_READY:
            # Draining is for good, and is told by a message of its own, too.
            self._draining |= message.reason == "draining"
            self._not_ready |= message.reason == "not-ready"
            self._review()

    def _ask_again(self) -> None:
        if self.is_full:
            self.is_full = False
            self._watcher.freed(self)

    def _take_load(self, load: Load) -> None:
        self.load = load
        # Ours that are on their way there are not counted yet, so this may be too low for a moment.
        self.others = max(0, load.busy - self.in_flight)
        self.is_full = self._not_ready = False
        self._draining |= load.draining
        self._review()

    def unsendable(self, message: Message, limit: int | None = None) -> None:
        attempt = self._open.get(getattr(message, "id", ""))
        if attempt is None:
            return
        if limit is None:
            log.error("a message for execution %s cannot be encoded", attempt.id)
            why = error("bad-request", "there is text in it that is not Unicode")
        else:  # the pool allows it: the worker is of another version, or of what the pool was
            log.warning("worker %s takes no message as large as for %s", self.name, attempt.id)
            why = error(
                "no-worker",
                f"it needs a worker that takes more than {limit} bytes at once",
                worker=self.name,
                retry_after=SMALL_RETRY_SECONDS,
            )
        attempt.finish(Failed(why))
        if isinstance(message, Execute | Check):
            self._close(attempt)
        else:
            self.abandon(attempt)

    def lost(self, unsent: Sequence[Message], *, all_answered: bool) -> None:
        self.unreachable_since = asyncio.get_running_loop().time()
        kept = {m.id for m in unsent if isinstance(m, Execute | Check | Program | SessionState)}
        lost, self._open = self._open, {}
        self.load = None
        self._watcher.linked(self, up=False)
        self._review()
        for attempt in lost.values():
            if attempt.shared:
                self._free(attempt.share)
            started = not (all_answered or attempt.id in kept or attempt.asked)
            attempt.finish(Lost(started=started))

    def _review(self) -> None:
        placeable = (
            self._link.is_up
            and self.endpoint.ready
            and not self.is_leaving
            and not self._not_ready
            and self.load is not None
            and self.load.ready
        )
        if placeable != self.is_placeable:
            self.is_placeable = placeable
            self._watcher.changed(self)
