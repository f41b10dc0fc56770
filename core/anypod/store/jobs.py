"""Jobs in the store: every step of one is a commit that only one can win.

A gateway that runs a job has its claim, a key that goes with the gateway's lease, and one of the
pool's slots, of which there are as many as there may be jobs at once. While the claim is there
nobody else touches the job; what the claimant writes, it writes only if the claim is still its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from anypod.store.checks import Write
from anypod.store.job_records import (
    Claim,
    Delivery,
    Job,
    JobCode,
    OpenJob,
    Pause,
    Printed,
    Progress,
)
from anypod.store.keys import PoolKeys
from anypod.store.kv import Conflict, Delete, Entry, KeyValue, LeaseEnded, Put
from anypod.store.records import Reader, decode, encode
from anypod.store.shared_lease import SharedLease
from anypod.wire.messages import Code

SCANNED = 5000
"""Records that one filtered page looks at."""
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Loaded:
    """All that it takes to run a job."""

    job: Job
    inputs: bytes
    code: Code | None


@dataclass(frozen=True, slots=True)
class Held:
    """A job that is claimed."""

    job: Job
    claim: int
    """The claim's version."""
    slot: int
    lease: int
    """That the claim goes with."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that is final, and what it leaves behind."""

    job: Job
    result: bytes
    """JSON: what a call that had waited would have been answered."""
    printed: Printed | None = None


@dataclass(frozen=True, slots=True)
class JobPage:
    items: list[Job]
    next: str | None


class JobStore:
    """All methods may raise StoreUnavailable and UnreadableRecord; those that write, Conflict."""

    def __init__(self, store: KeyValue, keys: PoolKeys) -> None:
        self._store = store
        self._keys = keys.jobs
        self._kept = SharedLease(store)
        self._reader = Reader()

    # accepting

    async def accept(
        self,
        job: Job,
        inputs: bytes,
        code: Code | None = None,
        *,
        also: Sequence[Write] = (),
        when: Sequence[tuple[str, int]] = (),
    ) -> Job:
        """It will be run from now on. ``also`` is written with it, on the conditions of ``when``.
        Raises ValueTooLarge."""
        keys = self._keys
        writes: list[Write] = [
            Put(keys.record(job.id), encode(job)),
            Put(keys.inputs(job.id), inputs),
            Put(keys.open(job.id), encode(OpenJob.of(job))),
            *also,
        ]
        if code is not None:
            writes.append(Put(keys.code(job.id), encode(JobCode(code=code))))
        version = await self._store.commit(writes, when=[(keys.record(job.id), 0), *when])
        return msgspec.structs.replace(job, version=version)

    # reading

    async def get(self, job: str) -> Job | None:
        entry = await self._store.get(self._keys.record(job))
        return decode(entry, Job) if entry is not None else None

    async def is_held(self, held: Held) -> bool:
        """Nobody else has it now, and nothing was written about it."""
        wanted = self._still(held)
        found, _ = await self._store.get_many([key for key, _ in wanted])
        versions = [0 if entry is None else entry.version for entry in found]
        return versions == [version for _, version in wanted]

    async def load(self, job: str) -> Loaded | None:
        keys = self._keys
        wanted = [keys.record(job), keys.inputs(job), keys.code(job)]
        (record, inputs, code), _ = await self._store.get_many(wanted)
        if record is None or inputs is None:
            return None
        own = decode(code, JobCode).code if code is not None else None
        return Loaded(decode(record, Job), inputs.value, own)

    async def result(self, job: str) -> bytes | None:
        entry = await self._store.get(self._keys.result(job))
        return entry.value if entry is not None else None

    async def printed(self, job: str) -> Printed | None:
        entry = await self._store.get(self._keys.printed(job))
        return decode(entry, Printed) if entry is not None else None

    async def page(self, fits: Callable[[Job], bool], *, after: str, limit: int) -> JobPage:
        """The latest first, beyond ``after``; a filtered page may be short."""
        items: list[Job] = []
        last, scanned = after, 0
        while True:
            page = await self._store.page(
                self._keys.records,
                after=self._keys.record(last) if last else "",
                limit=min(limit + 1, _AT_ONCE),
            )
            for entry in page.entries:
                if len(items) == limit or scanned == SCANNED:
                    return JobPage(items, last)
                self._add(items, entry, fits)
                last, scanned = entry.key.removeprefix(self._keys.records), scanned + 1
            if not page.more:
                return JobPage(items, None)

    def _add(self, items: list[Job], entry: Entry, fits: Callable[[Job], bool]) -> None:
        job = self._reader.read(entry, Job)
        if job is not None and fits(job):
            items.append(job)

    # running

    async def claim(
        self, job: Job, entry: int, claim: Claim, lease: int, *, pause: int = 0
    ) -> Held:
        """``job`` as it is to be from now on, with the version of what was read; ``entry`` is the
        version of its OpenJob, ``pause`` of the Pause that is over. Raises Conflict, LeaseEnded."""
        keys = self._keys
        version = await self._store.commit(
            [
                Put(keys.claim(job.id), encode(claim), lease),
                Put(keys.slot(claim.slot), job.id.encode(), lease),
                Put(keys.record(job.id), encode(job)),
                Delete(keys.pause(job.id)),
            ],
            when=[
                (keys.pause(job.id), pause),
                (keys.claim(job.id), 0),
                (keys.slot(claim.slot), 0),
                (keys.open(job.id), entry),
                (keys.record(job.id), job.version),
            ],
        )
        return Held(msgspec.structs.replace(job, version=version), version, claim.slot, lease)

    async def claim_again(
        self, job: Job, entry: int, claim: Claim, lease: int, *, pause: int = 0
    ) -> Held:
        """The same, when the store has not said whether it was done: it may have been."""
        try:
            return await self.claim(job, entry, claim, lease, pause=pause)
        except LeaseEnded:
            raise
        except Conflict:
            found = await self.get(job.id)
            if found is None or not found.is_open or found.execution != job.execution:
                raise
            return Held(found, found.version, claim.slot, lease)

    async def tell(self, held: Held, progress: Progress) -> None:
        key = self._keys.progress(held.job.id)
        await self._store.commit([Put(key, encode(progress))], when=self._still(held))

    async def release(self, held: Held, job: Job, pause: float = 0.0) -> None:
        """For whoever comes next, not before that many seconds."""
        keys = self._keys
        writes: list[Write] = [
            Put(keys.record(job.id), encode(job)),
            Delete(keys.claim(job.id)),
            Delete(keys.slot(held.slot)),
        ]
        if pause:
            writes.append(Put(keys.pause(job.id), encode(Pause(seconds=pause))))
        await self._store.commit(writes, when=self._still(held))

    async def finish(
        self,
        held: Held,
        ended: Ended,
        keep_seconds: float,
        *,
        also: Sequence[Write] = (),
        when: Sequence[tuple[str, int]] = (),
    ) -> Job:
        """``also`` is written with it, on the conditions of ``when``. Raises ValueTooLarge."""
        keys = self._keys
        writes: list[Write] = [Delete(keys.claim(held.job.id)), Delete(keys.slot(held.slot)), *also]
        return await self._end(ended, writes, [*self._still(held), *when], keep_seconds)

    async def end(self, ended: Ended, entry: int, keep_seconds: float) -> Job:
        """What nobody has claimed; its job has the version of what was read."""
        keys, job = self._keys, ended.job
        when = [
            (keys.claim(job.id), 0),
            (keys.open(job.id), entry),
            (keys.record(job.id), job.version),
        ]
        return await self._end(ended, [], when, keep_seconds)

    def _still(self, held: Held) -> list[tuple[str, int]]:
        keys = self._keys
        return [(keys.claim(held.job.id), held.claim), (keys.record(held.job.id), held.job.version)]

    async def _end(
        self,
        ended: Ended,
        writes: list[Write],
        when: list[tuple[str, int]],
        keep_seconds: float,
    ) -> Job:
        keys, job = self._keys, ended.job
        gone = (keys.open, keys.cancel, keys.pause, keys.progress, keys.inputs, keys.code)
        values = {keys.result(job.id): ended.result}
        if ended.printed is not None:
            values[keys.printed(job.id)] = encode(ended.printed)
        if job.webhook is not None:
            to_tell = msgspec.structs.replace(job.webhook, state="pending")
            job = msgspec.structs.replace(job, webhook=to_tell)
            values[keys.delivery(job.id)] = encode(Delivery.of(job, to_tell))
        values[keys.record(job.id)] = encode(job)
        deletes = [Delete(key(job.id)) for key in gone]
        while True:
            lease = await self._kept.get(keep_seconds)
            kept = [Put(key, value, lease) for key, value in values.items()]
            try:
                version = await self._store.commit([*kept, *writes, *deletes], when=when)
            except LeaseEnded:
                self._kept.ended()
                continue
            return msgspec.structs.replace(job, version=version)

    # leaving

    async def cancel(self, job: str, entry: int) -> None:
        """Tell its claimant, by the watch."""
        key = self._keys.cancel(job)
        await self._store.commit([Put(key, b"1")], when=[(self._keys.open(job), entry)])

    async def delete(self, job: Job) -> None:
        """A final one."""
        keys = self._keys
        gone = (keys.record, keys.result, keys.printed, keys.delivery)
        writes = [Delete(key(job.id)) for key in gone]
        await self._store.commit(writes, when=[(keys.record(job.id), job.version)])

    async def entry(self, job: str) -> int:
        """The version of its OpenJob; 0 when it is final."""
        found = await self._store.get(self._keys.open(job))
        return found.version if found is not None else 0
