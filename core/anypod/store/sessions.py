"""Sessions in the store: a pin, which gateways watch, and a state, which they read when asked.

Both live under one lease, with the session's programs. A session that moves gets a higher epoch in
both, in one commit: that changes the state's version, so a worker that was only cut off cannot
write over what came after it.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from anypod.dspy.spec import LmChoice
from anypod.store.checks import Write
from anypod.store.keys import PoolKeys
from anypod.store.kv import Conflict, Delete, DeletePrefix, KeyValue, Put, StoreUnavailable
from anypod.store.records import Reader, Record, decode, encode
from anypod.wire import strict_json

_ATTEMPTS = 100
_PAUSE_SECONDS = 0.02
_UNSURE_SECONDS = 15.0
"""How long a state is offered again to a store that broke off: it may be in there already."""
_UNSURE_PAUSE_SECONDS = 0.1

EMPTY_STATE = b"{}"


class SessionEnded(Exception):
    """There is no such session (any more)."""


class StateConflict(Exception):
    """The session has moved, ended, or has another state than this one began from."""


class Pin(Record, frozen=True, kw_only=True):
    """Which worker has the session. Small: every gateway keeps all of them in memory."""

    key: str
    worker: str
    instance: str
    """Of the worker's process: another one has nothing of the session in memory."""
    epoch: int
    """Rises by one when the session moves, and is higher than any epoch that an earlier session of
    the same key had."""
    lease: int
    ttl_seconds: float
    created_at: datetime
    pinned_at: datetime
    """Nobody asks for it, but gateways of older versions, which serve beside this one during an
    upgrade, cannot read a pin without it."""


class SessionState(Record, frozen=True, kw_only=True):
    epoch: int
    state: msgspec.Raw
    """A JSON object; or a string that has it, if it is one that no record can be made of."""

    @property
    def json(self) -> bytes:
        """Byte for byte as the worker sent it."""
        raw = bytes(self.state)
        return msgspec.json.decode(raw, type=str).encode() if raw.startswith(b'"') else raw


class SessionLm(Record, frozen=True, kw_only=True):
    """Which LM the session's programs ask. Not in the pin: a change of that would refuse the state
    of whatever runs meanwhile."""

    choice: LmChoice


def _storable(state: bytes) -> msgspec.Raw:
    """Raises ValueError."""
    if state.startswith(b"{"):
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            return msgspec.json.decode(state, type=msgspec.Raw)
    try:
        strict_json.loads(state)  # which takes an unpaired surrogate
    except strict_json.InvalidJson as error:
        raise ValueError(f"the state is not JSON: {error}") from error
    return msgspec.Raw(msgspec.json.encode(state.decode()))


@dataclass(frozen=True, slots=True)
class SessionPage:
    items: list[Pin]
    next: str | None
    """The ``after`` of the next page; None at the end."""


class SessionStore:
    """The sessions of a pool. ``confirm`` (``PoolWatch.confirm``) is awaited after an end, so that
    no gateway goes on with the session once its end was answered.

    All methods may raise StoreUnavailable, InvalidName and UnreadableRecord.
    """

    def __init__(
        self,
        store: KeyValue,
        keys: PoolKeys,
        *,
        confirm: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._store = store
        self._keys = keys
        self._confirm = confirm
        self._reader = Reader()

    async def get(self, key: str) -> Pin | None:
        entry = await self._store.get(self._keys.pin(key))
        return decode(entry, Pin) if entry is not None else None

    async def page(self, *, after: str = "", limit: int = 100) -> SessionPage:
        """In the order of their keys, beyond ``after``."""
        prefix = self._keys.pins
        found = await self._store.page(prefix, after=prefix + after if after else "", limit=limit)
        following = found.entries[-1].key.removeprefix(prefix) if found.more else None
        return SessionPage(self._reader.readable(found.entries, Pin), following)

    async def create(
        self, key: str, worker: str, instance: str, ttl_seconds: float
    ) -> tuple[Pin, bool]:
        """The session's pin, and whether it is ours: all callers get the same one."""
        pin_key = self._keys.pin(key)
        for _ in range(_ATTEMPTS):
            (entry,), revision = await self._store.get_many([pin_key])
            if entry is not None:
                return decode(entry, Pin), False
            lease = await self._store.grant(ttl_seconds)
            now = datetime.now(UTC)
            pin = Pin(
                key=key,
                worker=worker,
                instance=instance,
                epoch=revision + 1,
                lease=lease,
                ttl_seconds=ttl_seconds,
                created_at=now,
                pinned_at=now,
            )
            try:
                version = await self._store.commit(self._first(pin), when=[(pin_key, 0)])
            except Conflict:
                await self._store.revoke(lease)
                continue
            return msgspec.structs.replace(pin, version=version), True
        raise StateConflict(f"session {key!r} begins and ends too often")

    async def repin(self, pin: Pin, worker: str, instance: str) -> Pin:
        """Move the session, unless somebody else has since ``pin`` was read; the pin that holds
        now. Raises SessionEnded."""
        pin_key, state_key = self._keys.pin(pin.key), self._keys.state(pin.key)
        for _ in range(_ATTEMPTS):
            (entry, state_entry), _ = await self._store.get_many([pin_key, state_key])
            if entry is None or state_entry is None:
                raise SessionEnded(pin.key)
            now = decode(entry, Pin)
            if now.epoch != pin.epoch:
                return now
            moved = msgspec.structs.replace(
                now,
                worker=worker,
                instance=instance,
                epoch=now.epoch + 1,
                pinned_at=datetime.now(UTC),
            )
            state = decode(state_entry, SessionState)
            writes = self._puts(moved, msgspec.structs.replace(state, epoch=moved.epoch))
            when = [(pin_key, entry.version), (state_key, state_entry.version)]
            try:
                version = await self._store.commit(writes, when=when)
            except Conflict:
                await asyncio.sleep(random.random() * _PAUSE_SECONDS)  # noqa: S311 - no secret
                continue
            return msgspec.structs.replace(moved, version=version)
        raise StateConflict(f"session {pin.key!r} changes too often")

    async def state(self, key: str) -> SessionState | None:
        entry = await self._store.get(self._keys.state(key))
        return decode(entry, SessionState) if entry is not None else None

    async def write_state(self, pin: Pin, state: bytes, *, base: int) -> int:
        """The state's new version, if it was ``base`` until now and ``pin``, with which the
        execution was sent, still holds. Raises StateConflict, ValueTooLarge, ValueError for what is
        not JSON."""
        record = SessionState(epoch=pin.epoch, state=_storable(state))
        key = self._keys.state(pin.key)
        if base <= 0:
            raise StateConflict(f"session {pin.key!r}: no state has version {base}")
        put = Put(key, encode(record), pin.lease)
        try:
            return await self._put_surely(
                put, [(key, base), (self._keys.pin(pin.key), pin.version)]
            )
        except Conflict as error:
            raise StateConflict(f"session {pin.key!r} has moved, ended or changed") from error

    async def _put_surely(self, put: Put, when: list[tuple[str, int]]) -> int:
        """Again, when the store broke off: the condition holds at most once, so it cannot be done
        twice. Raises Conflict."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _UNSURE_SECONDS
        unsure = False
        while True:
            try:
                return await self._store.commit([put], when=when)
            except Conflict:
                entry = await self._store.get(put.key) if unsure else None
                if entry is None or entry.value != put.value:
                    raise
                return entry.version  # nobody else writes from that state in that epoch
            except StoreUnavailable:
                if loop.time() > until:
                    raise
                unsure = True
            await asyncio.sleep(_UNSURE_PAUSE_SECONDS)

    async def lm(self, key: str) -> LmChoice | None:
        entry = await self._store.get(self._keys.session_lm(key))
        return decode(entry, SessionLm).choice if entry is not None else None

    async def choose_lm(self, pin: Pin, choice: LmChoice) -> None:
        """For the calls that begin from now on, until the session ends. Raises SessionEnded."""
        put = Put(self._keys.session_lm(pin.key), encode(SessionLm(choice=choice)), pin.lease)
        for _ in range(_ATTEMPTS):
            entry = await self._store.get(self._keys.pin(pin.key))
            now = decode(entry, Pin) if entry is not None else None
            if entry is None or now is None or now.lease != pin.lease:
                raise SessionEnded(pin.key)
            try:
                await self._store.commit([put], when=[(entry.key, entry.version)])
            except Conflict:
                continue
            return
        raise StateConflict(f"session {pin.key!r} changes too often")

    async def renew(self, pin: Pin) -> bool:
        """Start the session's time anew; False when it has ended."""
        return await self._store.renew(pin.lease)

    async def time_left(self, pin: Pin) -> float | None:
        """Seconds until the session ends unless it is renewed; None when it has ended."""
        return await self._store.time_left(pin.lease)

    async def end(self, key: str) -> Pin | None:
        """End the session with all that it owns; the pin that it had, or None."""
        pin_key = self._keys.pin(key)
        for _ in range(_ATTEMPTS):
            entry = await self._store.get(pin_key)
            if entry is None:
                return None
            pin = decode(entry, Pin)
            writes = [
                Delete(pin_key),
                Delete(self._keys.state(key)),
                Delete(self._keys.session_lm(key)),
                *self._programs(key),
            ]
            changes = Put(self._keys.changes, b"1")
            try:
                await self._store.commit([*writes, changes], when=[(pin_key, entry.version)])
            except Conflict:
                continue
            await self._store.revoke(pin.lease)
            if self._confirm is not None:
                await self._confirm()
            return pin
        raise StateConflict(f"session {key!r} changes too often")

    def _first(self, pin: Pin) -> list[Write]:
        state = SessionState(epoch=pin.epoch, state=msgspec.Raw(EMPTY_STATE))
        return self._puts(pin, state)

    def _puts(self, pin: Pin, state: SessionState) -> list[Write]:
        return [
            Put(self._keys.pin(pin.key), encode(pin), pin.lease),
            Put(self._keys.state(pin.key), encode(state), pin.lease),
            Put(self._keys.changes, b"1"),
        ]

    def _programs(self, key: str) -> list[Write]:
        programs = self._keys.session_programs(key)
        prefixes = (programs.heads, programs.histories, programs.blobs)
        return [DeletePrefix(prefix) for prefix in prefixes]
