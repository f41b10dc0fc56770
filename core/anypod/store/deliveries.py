"""Ends of jobs that are still to be told: claimed as jobs are, so a gateway's death loses none.

What is to be told goes with the job, by the same lease. Whoever has claimed it and told it may die
before that is written, and then it is told again: at least once, not exactly once.
"""

import contextlib
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter

import msgspec

from anypod.store.checks import Write
from anypod.store.job_records import Delivery, Job, Webhook
from anypod.store.keys import JobKeys
from anypod.store.kv import Change, Conflict, Delete, Entry, KeyValue, Put
from anypod.store.records import Reader, decode, encode


@dataclass(frozen=True, slots=True)
class Telling:
    """An end that is claimed."""

    job: Job
    webhook: Webhook
    claim: int
    """The claim's version."""
    lease: int
    """By which the job is kept."""


class DeliveryStore:
    """All methods may raise StoreUnavailable and UnreadableRecord."""

    def __init__(self, store: KeyValue, keys: JobKeys) -> None:
        self._store = store
        self._keys = keys

    async def claim(self, delivery: Delivery, owner: str, lease: int) -> Telling | None:
        """None when its job has gone. Raises Conflict, LeaseEnded."""
        keys, id_ = self._keys, delivery.job
        entry = await self._store.get(keys.record(id_))
        job = decode(entry, Job) if entry is not None else None
        if entry is None or job is None or job.webhook is None:
            await self._store.commit([Delete(keys.delivery(id_))])
            return None
        claim = await self._store.commit(
            [Put(keys.delivery_claim(id_), owner.encode(), lease)],
            when=[
                (keys.delivery_claim(id_), 0),
                (keys.delivery(id_), delivery.version),
                (keys.record(id_), entry.version),
            ],
        )
        return Telling(job, job.webhook, claim, entry.lease)

    async def settle(self, telling: Telling, webhook: Webhook, pause: float | None) -> None:
        """``pause``: until the next attempt; None when there is none."""
        keys, job = self._keys, telling.job
        record = msgspec.structs.replace(job, webhook=webhook)
        writes: list[Write] = [
            Put(keys.record(job.id), encode(record), telling.lease),
            Delete(keys.delivery_claim(job.id)),
        ]
        if pause is None:
            writes.append(Delete(keys.delivery(job.id)))
        else:
            later = Delivery.of(job, webhook, pause)
            writes.append(Put(keys.delivery(job.id), encode(later), telling.lease))
        claim = (keys.delivery_claim(job.id), telling.claim)
        try:
            await self._store.commit(writes, when=[claim, (keys.record(job.id), job.version)])
        except Conflict:  # the job was deleted, or another gateway is at it
            await self.release(job.id, telling.claim)

    async def release(self, job: str, claim: int) -> None:
        """``claim``: its version; nothing happens if it is another one by now."""
        key = self._keys.delivery_claim(job)
        with contextlib.suppress(Conflict):
            await self._store.commit([Delete(key)], when=[(key, claim)])


class DeliveryView:
    """A ``pool_watch.View`` of ``JobKeys.deliveries``."""

    def __init__(self, keys: JobKeys, on_change: Callable[[], None]) -> None:
        """``on_change`` must not wait."""
        self._keys = keys
        self._on_change = on_change
        self._reader = Reader()
        self._open: dict[str, tuple[float, Delivery]] = {}
        """With the time from which each is due, by this machine's monotonic clock."""
        self._claims: dict[str, Entry] = {}
        self._lanes: dict[tuple[str, str], list[tuple[float, str]]] = {}
        """Of each caller and origin: when each is due, in that order."""

    def __len__(self) -> int:
        return len(self._open)

    def of(self, caller: str) -> int:
        """How many are that caller's."""
        return sum(len(lane) for (whose, _), lane in self._lanes.items() if whose == caller)

    def claimed_by(self, owner: str) -> list[tuple[str, int]]:
        """Jobs, and the versions of the claims."""
        claims = self._claims.items()
        return [(id_, one.version) for id_, one in claims if one.value == owner.encode()]

    def due(self) -> list[Iterator[Delivery]]:
        """Those that nobody is at, as they have become due: of each caller and origin apart, and
        first of whom it was due first."""
        now = time.monotonic()
        lanes = [lane for lane in self._lanes.values() if lane[0][0] <= now]
        return [self._due(lane, now) for lane in sorted(lanes, key=itemgetter(0))]

    def _due(self, lane: list[tuple[float, str]], now: float) -> Iterator[Delivery]:
        for since, id_ in lane:
            if since > now:
                return
            if id_ not in self._claims:
                yield self._open[id_][1]

    def reset(self, entries: Iterable[Entry]) -> None:
        before, self._open = self._open, {}
        self._claims.clear()
        self._lanes.clear()
        for entry in entries:
            self._take(entry.key, entry, before)
        self._on_change()

    def change(self, change: Change) -> None:
        entry = None
        if change.value is not None:
            entry = Entry(change.key, change.value, change.version)
        self._take(change.key, entry, {})
        self._on_change()

    def _take(
        self, key: str, entry: Entry | None, before: dict[str, tuple[float, Delivery]]
    ) -> None:
        kind, _, id_ = key.removeprefix(self._keys.deliveries).partition("/")
        if kind == "claims":
            self._claims.pop(id_, None)
            if entry is not None:
                self._claims[id_] = entry
            return
        self._remove(id_)
        delivery = self._reader.read(entry, Delivery) if entry is not None else None
        if delivery is not None:
            since, known = before.get(id_, (0.0, None))
            if known is None or known.version != delivery.version:
                since = time.monotonic() + delivery.pause
            self._open[id_] = (since, delivery)
            lane = self._lanes.setdefault((delivery.caller, delivery.origin), [])
            insort(lane, (since, id_))

    def _remove(self, id_: str) -> None:
        found = self._open.pop(id_, None)
        if found is not None:
            since, delivery = found
            key = (delivery.caller, delivery.origin)
            lane = self._lanes[key]
            del lane[bisect_left(lane, (since, id_))]
            if not lane:
                del self._lanes[key]
