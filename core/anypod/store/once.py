"""What makes a run happen once: a record for each key that a caller has given, and who runs it.

The record is made before the run and gets the answer after it, each by a commit that only one can
win. A gateway that runs some is alive as long as its lease is; the records outlive it, so that
whoever repeats a call of a dead gateway learns that the run may have happened.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from anypod.store.checks import Write
from anypod.store.keys import PoolKeys
from anypod.store.kv import Delete, KeyValue, LeaseEnded, Put
from anypod.store.records import Record, decode, encode
from anypod.store.shared_lease import SharedLease

OWNER_SECONDS = 10.0
RENEW_SECONDS = 3.0

T = TypeVar("T")


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the first call was answered, to be told again."""

    status: int
    head: str = ""
    """Header lines, each with CR LF; of a 200."""
    body: str | None = None
    """None for one that was too large to keep."""


class Run(Record, frozen=True, kw_only=True):
    fingerprint: str
    """Of all that the call asked for: another call must not have the same key."""
    owner: str
    """Of the gateway that runs it, or did."""
    execution: str
    answer: Answer | None = None
    told: bool = False
    """Of a loss: somebody was told that it may have happened. Who comes now knows, or is new."""
    after: str = ""
    """The execution of such a loss, that was the key's before this run."""


class Owner:
    """This gateway, as long as it lives: it is told to the store at the first need."""

    def __init__(self, store: KeyValue, keys: PoolKeys) -> None:
        self.name = secrets.token_hex(8)
        self._store = store
        self._key = keys.once_owner(self.name)
        self._lease = 0
        self._lock = asyncio.Lock()

    async def begin(self) -> None:
        """Raises StoreUnavailable."""
        if not self._lease:
            async with self._lock:
                if not self._lease:
                    await self._register()

    async def _register(self) -> None:
        lease = await self._store.grant(OWNER_SECONDS)
        await self._store.commit([Put(self._key, b"1", lease)])
        self._lease = lease

    async def renew(self) -> None:
        """Raises StoreUnavailable."""
        if self._lease and not await self._store.renew(self._lease):
            async with self._lock:
                await self._register()

    async def end(self) -> None:
        lease, self._lease = self._lease, 0
        if lease:
            await self._store.revoke(lease)


class OnceStore:
    """All methods may raise StoreUnavailable and UnreadableRecord."""

    def __init__(self, store: KeyValue, keys: PoolKeys) -> None:
        self._store = store
        self._keys = keys
        self._leases = SharedLease(store)

    async def get(self, digest: str) -> Run | None:
        entry = await self._store.get(self._keys.once(digest))
        return decode(entry, Run) if entry is not None else None

    async def is_alive(self, owner: str) -> bool:
        return await self._store.get(self._keys.once_owner(owner)) is not None

    async def put(self, digest: str, run: Run, *, keep_seconds: float) -> Run:
        """Write it if the record still has the version of ``run`` (0: if there is none). Raises
        Conflict, ValueTooLarge."""

        async def commit(write: Write, when: tuple[str, int]) -> int:
            return await self._store.commit([write], when=[when])

        version = await self.put_with(digest, run, commit, keep_seconds=keep_seconds)
        return msgspec.structs.replace(run, version=version)

    async def put_with(
        self,
        digest: str,
        run: Run,
        commit: Callable[[Write, tuple[str, int]], Awaitable[T]],
        *,
        keep_seconds: float,
    ) -> T:
        """The same, in a commit of the caller's that has the write and its condition in it."""
        key = self._keys.once(digest)
        while True:
            lease = await self._leases.get(keep_seconds)
            try:
                return await commit(Put(key, encode(run), lease), (key, run.version))
            except LeaseEnded:
                self._leases.ended()

    async def forget(self, digest: str, run: Run) -> None:
        """Raises Conflict when it has changed since."""
        key = self._keys.once(digest)
        await self._store.commit([Delete(key)], when=[(key, run.version)])
