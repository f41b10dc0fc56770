"""The key-value protocol that a store driver speaks: what etcd and SQLite both can do well.

Keys are ``/``-separated text, values are bytes. Every write gives the whole store a new, higher
*revision*; a key's *version* is the revision of its last write. A version of 0 means "absent".
All reads are linearizable: they see every write that was answered before they were called,
through whichever process.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_VALUE_BYTES = 1024 * 1024
"""Below etcd's limit of 1.5 MiB per request, with room for the rest of a transaction."""

MAX_COMMIT_BYTES = 1400 * 1024
"""Keys and values of one commit together."""

MAX_OPERATIONS = 100
"""Writes, conditions, or keys of one call; etcd takes 128 in a transaction."""


@dataclass(frozen=True, slots=True)
class Entry:
    key: str
    value: bytes
    version: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    entries: list[Entry]
    revision: int
    """The store's revision at which the page was read; a watch can go on from ``revision + 1``."""
    more: bool
    """There are keys after the last one; a page of large values may end before its limit."""


@dataclass(frozen=True, slots=True)
class Put:
    key: str
    value: bytes
    lease: int = 0
    """The key goes when this lease ends; 0 for a key that stays."""


@dataclass(frozen=True, slots=True)
class Delete:
    key: str


@dataclass(frozen=True, slots=True)
class DeletePrefix:
    prefix: str
    """Must end in ``/``, so that deleting ``a`` cannot reach ``ab``."""


@dataclass(frozen=True, slots=True)
class Change:
    """One watched change; ``value`` is None when the key was deleted or its lease ended."""

    key: str
    value: bytes | None
    version: int
    """Of the write or of the deletion."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The watch cannot be resumed (compacted, or just begun): ``entries`` is all there is now.

    What a reader knew and does not find here is gone.
    """

    entries: list[Entry]
    revision: int
    stamp: int | None = None
    """The store's stamp before this was read."""


@dataclass(frozen=True, slots=True)
class Synced:
    """All changes up to ``revision`` have been delivered."""

    revision: int
    stamp: int | None = None
    """The store's stamp before they were read."""


WatchEvent = Change | Reset | Synced


class StoreUnavailable(Exception):
    """The store did not answer in time; a write may or may not have happened."""


class Conflict(Exception):
    """A condition of ``commit`` did not hold; nothing was written."""


class LeaseEnded(Conflict):
    """A key was to be put with a lease that has ended; nothing was written."""


class ValueTooLarge(ValueError):
    """A value, or all of a commit, is larger than the store takes; nothing was written."""

    def __init__(self, what: str, size: int, limit: int = MAX_VALUE_BYTES) -> None:
        super().__init__(f"{size} bytes for {what}; the store takes {limit}")
        self.size = size
        self.limit = limit


class KeyValue(Protocol):
    """A driver. Every method may raise StoreUnavailable, after a deadline of its own."""

    async def get(self, key: str) -> Entry | None: ...

    async def get_many(self, keys: Sequence[str]) -> tuple[list[Entry | None], int]:
        """The entries at one revision of the store, and that revision; MAX_OPERATIONS at most."""
        ...

    async def commit(
        self, writes: Sequence[Put | Delete | DeletePrefix], *, when: Sequence[tuple[str, int]] = ()
    ) -> int:
        """Do all writes at once if each key of ``when`` has that version (0: is absent).

        Returns the revision, which is the new version of each key put. Raises Conflict,
        LeaseEnded, ValueTooLarge; ValueError when two writes touch one key.
        """
        ...

    async def page(
        self, prefix: str, *, after: str = "", limit: int = 1000, values: bool = True
    ) -> Page:
        """One page of the keys that begin with ``prefix`` (ends in ``/``), in order, beyond
        the key ``after``."""
        ...

    async def grant(self, ttl_seconds: float) -> int:
        """A new lease. Keys put with it go when it has not been renewed for that long."""
        ...

    async def renew(self, lease: int) -> bool:
        """Start the lease's time anew; False when it has ended already."""
        ...

    async def revoke(self, lease: int) -> None:
        """End the lease and delete its keys; no error when it has ended already."""
        ...

    async def time_left(self, lease: int) -> float | None:
        """Seconds until the lease ends unless it is renewed; None when it has ended."""
        ...

    def watch(self, prefix: str) -> AsyncGenerator[WatchEvent, None]:
        """Begin with a Reset, then every change in order, without a gap, for ever.

        All changes of one commit come before the Synced that names its revision. Survives
        restarts and compaction of the store by itself (another Reset when it must), with
        back-off and one log line per outage. Ends when the iterator is closed.
        """
        ...

    def stamp(self) -> int | None:
        """Another one after every write of whatever process, before that is answered. Asks nobody
        and costs next to nothing; None from a driver that has none, or not at the moment."""
        ...

    async def close(self) -> None: ...
