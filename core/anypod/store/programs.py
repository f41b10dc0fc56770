"""Programs in the store: those of a pool, and those that a session owns.

A change is one commit: the head, the history, the revision's blob, what falls out of the history,
and the pool's ``changes``; conditional on the head being what was read. Whoever loses a race
reads again.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import msgspec

from anypod.store.checks import Write
from anypod.store.keys import PoolKeys
from anypod.store.kv import Conflict, Delete, DeletePrefix, KeyValue, Put
from anypod.store.program_records import (
    Head,
    History,
    ProgramNotFound,
    RevisionConflict,
    RevisionNotFound,
    Step,
    Written,
    check_match,
    first_head,
    next_head,
    same,
    taken,
)
from anypod.store.records import Reader, decode, encode
from anypod.store.revisions import Revision
from anypod.store.sessions import Pin, SessionEnded

_CONTENTION_SECONDS = 10.0
_PAUSE_SECONDS = 0.02
_SCANNED = 5000
"""Heads that one filtered page looks at."""

Confirm = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ProgramPage:
    items: list[Head]
    next: str | None
    """The ``after`` of the next page; None at the end."""


@dataclass(frozen=True, slots=True)
class Following:
    """Writes, and on which conditions."""

    writes: Sequence[Write] = ()
    when: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True, slots=True)
class _Now:
    """What a change begins from."""

    head: Head | None
    history: History
    lease: int
    when: list[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class _Change:
    result: Written
    writes: Sequence[Write] = ()
    confirm: bool = True
    """Other gateways may be serving what is no longer so."""


class ProgramStore:
    """The programs of a pool; with ``session``, those that this session owns.

    ``confirm`` (``PoolWatch.confirm``) is awaited after a commit that another gateway's cache
    could contradict. All methods may raise StoreUnavailable, InvalidName and UnreadableRecord;
    of a session's programs also SessionEnded.
    """

    def __init__(
        self,
        store: KeyValue,
        keys: PoolKeys,
        *,
        confirm: Confirm | None = None,
        session: str | None = None,
    ) -> None:
        self._store = store
        self._session = session
        self._changes = keys.changes
        self._pin = keys.pin(session) if session is not None else None
        self._keys = keys.programs if session is None else keys.session_programs(session)
        self._confirm = confirm
        self._reader = Reader()

    async def get(self, program: str) -> Head | None:
        entry = await self._store.get(self._keys.head(program))
        return decode(entry, Head) if entry is not None else None

    async def revision(self, program: str, revision: str) -> Revision | None:
        entry = await self._store.get(self._keys.revision(program, revision))
        return decode(entry, Revision) if entry is not None else None

    async def history(self, program: str) -> History | None:
        entry = await self._store.get(self._keys.history(program))
        return decode(entry, History) if entry is not None else None

    async def revisions(self, program: str) -> list[Step]:
        """Newest first. Raises ProgramNotFound."""
        history = await self.history(program)
        if history is None:
            raise ProgramNotFound(program)
        return history.steps[::-1]

    async def page(
        self, *, after: str = "", limit: int = 100, labels: Mapping[str, str] | None = None
    ) -> ProgramPage:
        """Heads in the order of their ids, beyond ``after``; a filtered page may be short."""
        wanted = (labels or {}).items()
        items: list[Head] = []
        last, scanned = after, 0
        async with aclosing(self._heads(after, limit + 1)) as heads:
            async for name, head in heads:
                if len(items) == limit or scanned == _SCANNED:
                    return ProgramPage(items, last)
                if head is not None and wanted <= head.labels.items():
                    items.append(head)
                last, scanned = name, scanned + 1
        return ProgramPage(items, None)

    async def create(
        self, program: str, revision: Revision, labels: Mapping[str, str] | None = None
    ) -> Written:
        """Raises AlreadyExists, unless the program is already exactly this one; ValueTooLarge."""

        async def decide(now: _Now) -> _Change:
            if now.head is None:
                return self._first(program, revision, labels, now)
            if not same(now.head, revision, labels):
                raise taken(now.head, revision.revision)
            return _Change(Written(now.head, changed=False))

        return await self._change(program, decide)

    async def put(
        self,
        program: str,
        revision: Revision,
        labels: Mapping[str, str] | None = None,
        *,
        if_match: str | None = None,
    ) -> Written:
        """Create it, or make this its revision; labels of None stay. Raises RevisionConflict,
        ValueTooLarge."""

        async def decide(now: _Now) -> _Change:
            check_match(program, now.head, if_match)
            if now.head is None:
                return self._first(program, revision, labels, now)
            if same(now.head, revision, labels):
                return _Change(Written(now.head, changed=False))
            return self._next(now.head, revision, labels, now)

        return await self._change(program, decide)

    async def following(self, program: str, revision: Revision, of: str) -> Following | None:
        """What makes ``revision`` the one after ``of``, to be committed together with something
        else, and confirmed before it is told; None if the program is not at ``of`` any more."""
        now = await self._read(program)
        if now.head is None or now.head.revision != of:
            return None
        change = self._next(now.head, revision, None, now)
        return Following([*change.writes, Put(self._changes, b"1")], now.when)

    async def confirm(self) -> None:
        """No other gateway serves what was replaced before this call."""
        if self._confirm is not None:
            await self._confirm()

    async def rollback(
        self, program: str, to: str | None = None, *, if_match: str | None = None
    ) -> Written:
        """Make ``to`` (a revision, or a prefix of one) current again, or else what was current
        before. Raises ProgramNotFound, RevisionNotFound, RevisionConflict."""

        async def decide(now: _Now) -> _Change:
            if now.head is None:
                raise ProgramNotFound(program)
            check_match(program, now.head, if_match)
            name = now.history.previous() if to is None else now.history.find(to)
            if name == now.head.revision:
                return _Change(Written(now.head, changed=False))
            revision = await self.revision(program, name)
            if revision is None:
                raise RevisionNotFound(f"no revision {name!r}: it was deleted meanwhile")
            return self._next(now.head, revision, None, now)

        return await self._change(program, decide)

    async def delete(self, program: str, *, if_match: str | None = None) -> Head:
        """The head that was deleted. Raises ProgramNotFound, RevisionConflict."""

        async def decide(now: _Now) -> _Change:
            if now.head is None:
                raise ProgramNotFound(program)
            check_match(program, now.head, if_match)
            writes: list[Write] = [
                Delete(self._keys.head(program)),
                Delete(self._keys.history(program)),
                DeletePrefix(self._keys.revisions(program)),
            ]
            return _Change(Written(now.head), writes)

        return (await self._change(program, decide)).head

    def _first(
        self, program: str, revision: Revision, labels: Mapping[str, str] | None, now: _Now
    ) -> _Change:
        head = first_head(program, revision, labels or {}, self._session)
        # A session's program hides the pool's, which others may be serving; a new one hides none.
        hides = self._session is not None
        return _Change(
            Written(head, created=True), self._puts(head, revision, History(), now), hides
        )

    def _next(
        self, head: Head, revision: Revision, labels: Mapping[str, str] | None, now: _Now
    ) -> _Change:
        following = next_head(head, revision, labels)
        return _Change(Written(following), self._puts(following, revision, now.history, now))

    def _puts(self, head: Head, revision: Revision, history: History, now: _Now) -> Sequence[Write]:
        following, dropped = history.then(revision)
        writes: list[Write] = [
            Put(self._keys.head(head.id), encode(head), now.lease),
            Put(self._keys.history(head.id), encode(following), now.lease),
        ]
        if not history.knows(revision.revision):
            key = self._keys.revision(head.id, revision.revision)
            writes.append(Put(key, encode(revision), now.lease))
        writes += [Delete(self._keys.revision(head.id, name)) for name in dropped]
        return writes

    async def _change(self, program: str, decide: Callable[[_Now], Awaitable[_Change]]) -> Written:
        until = time.monotonic() + _CONTENTION_SECONDS
        while time.monotonic() < until:
            now = await self._read(program)
            try:
                change = await decide(now)
                if not change.writes:
                    return change.result
                writes = [*change.writes, Put(self._changes, b"1")]
                version = await self._store.commit(writes, when=now.when)
            except Conflict:
                await asyncio.sleep(random.random() * _PAUSE_SECONDS)  # noqa: S311 - no secret
                continue
            if change.confirm and self._confirm is not None:
                await self._confirm()
            return _at(change.result, version)
        raise RevisionConflict(f"program {program!r} is being changed by too many at once")

    async def _read(self, program: str) -> _Now:
        head_key = self._keys.head(program)
        asked = [head_key, self._keys.history(program)]
        if self._pin is not None:
            asked.append(self._pin)
        (head, history, *pins), _ = await self._store.get_many(asked)
        when = [(head_key, head.version if head is not None else 0)]
        lease = 0
        if self._pin is not None:
            if pins[0] is None:
                raise SessionEnded(self._session)
            when.append((self._pin, pins[0].version))
            lease = decode(pins[0], Pin).lease
        return _Now(
            head=decode(head, Head) if head is not None else None,
            history=decode(history, History) if history is not None else History(),
            lease=lease,
            when=when,
        )

    async def _heads(self, after: str, limit: int) -> AsyncGenerator[tuple[str, Head | None], None]:
        """Ids and heads; None for one that cannot be read."""
        prefix = self._keys.heads
        more = True
        key = prefix + after if after else ""
        while more:
            page = await self._store.page(prefix, after=key, limit=limit)
            for entry in page.entries:
                key = entry.key
                yield key.removeprefix(prefix), self._reader.read(entry, Head)
            more = page.more


def _at(written: Written, version: int) -> Written:
    head = msgspec.structs.replace(written.head, version=version)
    return Written(head, written.created, written.changed)
