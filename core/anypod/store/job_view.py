"""The open jobs of a pool in memory, as the pool's watch tells of them, and which may run next.

Jobs of a session are one after another: only its first open one may run. What the watch has not
told yet only makes a view late, never wrong: an earlier job of a session was in it before a later.
"""

import asyncio
import logging
import time
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from anypod.store.job_records import Claim, OpenJob, Pause, Progress
from anypod.store.keys import JobKeys
from anypod.store.kv import Change, Entry
from anypod.store.records import R, UnreadableRecord, decode

log = logging.getLogger(__name__)

_Place = tuple[int, int, str]


def _place(job: OpenJob) -> _Place:
    return (-job.priority, job.version, job.id)


class JobView:
    """A ``pool_watch.View`` of ``JobKeys.watched``."""

    def __init__(self, keys: JobKeys, on_change: Callable[[str], None]) -> None:
        """``on_change`` gets the id of a job of which something is new; it must not wait."""
        self._keys = keys
        self._on_change = on_change
        self.open: dict[str, OpenJob] = {}
        self.claims: dict[str, Claim] = {}
        self.cancels: set[str] = set()
        self.progress: dict[str, Progress] = {}
        self.slots: set[int] = set()
        self._pauses: dict[str, tuple[float, int]] = {}
        """When each is over, by this machine's monotonic clock, and its version."""
        self.webhooks: Counter[str] = Counter()
        """Jobs whose end will be to be told, by caller."""
        self._order: list[_Place] = []
        self._sessions: dict[str, list[tuple[int, str]]] = {}
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}

    @property
    def running(self) -> int:
        return len(self.claims)

    def may_run(self, now: datetime) -> Iterator[OpenJob]:
        """Those that nobody is at and that wait for nothing, in their order."""
        for _, _, id_ in self._order:
            job = self.open[id_]
            if id_ not in self.claims and self._is_due(job, now) and self._is_first(job):
                yield job

    def pause(self, job: str) -> int:
        """The version of what it waits for, or has waited for; 0 for nothing."""
        return self._pauses.get(job, (0.0, 0))[1]

    def _is_due(self, job: OpenJob, now: datetime) -> bool:
        if job.id in self.cancels:
            return True
        if job.id in self._pauses and self._pauses[job.id][0] > time.monotonic():
            return False
        return job.not_before is None or job.not_before <= now

    def _is_first(self, job: OpenJob) -> bool:
        return job.session is None or self._sessions[job.session][0][1] == job.id

    async def news(self, job: str) -> None:
        """Waits until something is new about the job. What comes between two calls is missed:
        begin to wait, then look."""
        future = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(job, set())
        waiting.add(future)
        try:
            await future
        finally:
            waiting.discard(future)
            if not waiting and self._waiting.get(job) is waiting:
                del self._waiting[job]

    # pool_watch.View

    def reset(self, entries: Iterable[Entry]) -> None:
        told = self.open.keys() | self._waiting.keys()
        paused = dict(self._pauses)
        for known in (
            self.open,
            self.claims,
            self.progress,
            self._sessions,
            self._pauses,
            self.webhooks,
        ):
            known.clear()
        for group in (self.cancels, self.slots):
            group.clear()
        self._order.clear()
        for entry in entries:
            self._take(entry.key, entry)
        for id_, pause in paused.items():  # one that is known is not begun again
            if self.pause(id_) == pause[1]:
                self._pauses[id_] = pause
        for job in told | self.open.keys():
            self._tell(job)

    def change(self, change: Change) -> None:
        entry = None
        if change.value is not None:
            entry = Entry(change.key, change.value, change.version)
        job = self._take(change.key, entry)
        if job:
            self._tell(job)

    def _take(self, key: str, entry: Entry | None) -> str:
        """The id of the job that it is about."""
        kind, _, name = key.removeprefix(self._keys.watched).partition("/")
        match kind:
            case "open":
                self._remove(name)
                if (job := self._read(entry, OpenJob)) is not None:
                    self._add(job)
            case "claims":
                self._keep(self.claims, name, self._read(entry, Claim))
            case "pauses":
                pause = self._read(entry, Pause)
                self._pauses.pop(name, None)
                if pause is not None:
                    self._pauses[name] = (time.monotonic() + pause.seconds, pause.version)
            case "progress":
                self._keep(self.progress, name, self._read(entry, Progress))
            case "cancels":
                (self.cancels.discard if entry is None else self.cancels.add)(name)
            case "slots":
                (self.slots.discard if entry is None else self.slots.add)(int(name))
                return ""
        return name

    def _read(self, entry: Entry | None, kind: type[R]) -> R | None:
        if entry is None:
            return None
        try:
            return decode(entry, kind)
        except UnreadableRecord as error:
            log.warning("left alone: %s", error)
            return None

    def _keep(self, where: dict[str, R], name: str, record: R | None) -> None:
        if record is None:
            where.pop(name, None)
        else:
            where[name] = record

    def _add(self, job: OpenJob) -> None:
        self.open[job.id] = job
        insort(self._order, _place(job))
        if job.webhook_of:
            self.webhooks[job.webhook_of] += 1
        if job.session is not None:
            insort(self._sessions.setdefault(job.session, []), (job.version, job.id))

    def _remove(self, name: str) -> None:
        job = self.open.pop(name, None)
        if job is None:
            return
        del self._order[bisect_left(self._order, _place(job))]
        if job.webhook_of:
            self.webhooks[job.webhook_of] -= 1
            if not self.webhooks[job.webhook_of]:
                del self.webhooks[job.webhook_of]
        if job.session is not None:
            jobs = self._sessions[job.session]
            jobs.remove((job.version, job.id))
            if not jobs:
                del self._sessions[job.session]

    def _tell(self, job: str) -> None:
        for future in self._waiting.pop(job, ()):
            if not future.done():
                future.set_result(None)
        self._on_change(job)
