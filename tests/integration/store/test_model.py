"""Any sequence of operations leaves what a dict would have, and the watch has told all of it."""

import asyncio
import itertools
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anypod.store.kv import (
    Change,
    Conflict,
    Delete,
    DeletePrefix,
    Entry,
    KeyValue,
    LeaseEnded,
    Put,
    Reset,
    Synced,
)
from anypod.store.open import open_store

NAMES = ["a", "a/b", "a/b/c", "a0", "a_", "ab", "é", "z/1", "z/2"]
PREFIXES = ["a/", "a/b/", "z/", "none/"]
LEASES = 3

_rooms = itertools.count()

Belief = Literal["right", "absent", "older", "other"]
"""What a condition says of a key: its version, 0, an earlier version of it, or nonsense."""


@dataclass(frozen=True)
class Commit:
    puts: dict[str, tuple[bytes, int]]
    """Name → value and the number of a lease, 0 for none."""
    deletes: list[str]
    prefixes: list[str]
    when: dict[str, Belief]


@dataclass(frozen=True)
class Revoke:
    lease: int


@dataclass(frozen=True)
class Look:
    prefix: str
    limit: int


names = st.sampled_from(NAMES)
commits = st.builds(
    Commit,
    puts=st.dictionaries(
        names, st.tuples(st.binary(max_size=8), st.integers(0, LEASES)), max_size=3
    ),
    deletes=st.lists(names, max_size=2),
    prefixes=st.lists(st.sampled_from(PREFIXES), max_size=1),
    when=st.dictionaries(
        names, st.sampled_from(["right", "right", "absent", "older", "other"]), max_size=2
    ),
)
operations = st.lists(
    st.one_of(
        commits,
        commits,
        commits,
        st.builds(Revoke, lease=st.integers(1, LEASES)),
        st.builds(Look, prefix=st.sampled_from(["", *PREFIXES]), limit=st.integers(1, 4)),
    ),
    max_size=25,
)


@dataclass
class Model:
    """The same store, as a dict in memory; keys without the room's prefix."""

    entries: dict[str, Entry] = field(default_factory=dict)
    versions: dict[str, list[int]] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)

    def believed(self, name: str, belief: Belief) -> int:
        entry = self.entries.get(name)
        version = entry.version if entry is not None else 0
        older = [known for known in self.versions.get(name, []) if known != version]
        beliefs = {"right": version, "absent": 0, "other": version + 1000}
        return older[-1] if belief == "older" and older else beliefs.get(belief, version + 1000)

    def holds(self, when: dict[str, int]) -> bool:
        return all(
            version == (self.entries[name].version if name in self.entries else 0)
            for name, version in when.items()
        )

    def apply(self, commit: Commit, version: int, leases: list[int]) -> None:
        gone = {name for name in self.entries if name.startswith(tuple(commit.prefixes))}
        for name in gone | set(commit.deletes):
            self.entries.pop(name, None)
        for name, (value, lease) in commit.puts.items():
            self.entries[name] = Entry(name, value, version, leases[lease])
            self.versions.setdefault(name, []).append(version)

    def revoke(self, lease: int) -> None:
        kept = {name: entry for name, entry in self.entries.items() if entry.lease != lease}
        self.entries = kept

    def listed(self, prefix: str) -> list[Entry]:
        found = [entry for name, entry in self.entries.items() if name.startswith(prefix)]
        return sorted(found, key=lambda entry: entry.key.encode())


class Play:
    """Does each operation to the store and to the model, and compares what they say."""

    def __init__(self, store: KeyValue) -> None:
        self.room = f"/model/{next(_rooms)}/"
        self.store = store
        self.model = Model()
        self.leases = [0]

    async def run(self, operations: list[Commit | Revoke | Look]) -> None:
        self.leases += [await self.store.grant(600) for _ in range(LEASES)]
        async with aclosing(self.store.watch(self.room)) as events:
            begin = await anext(events)
            assert isinstance(begin, Reset)
            for operation in operations:
                await self._do(operation)
            last = await self.store.commit([Put(self.room + "end", b"")])
            told: dict[str, bytes] = {}
            async for event in events:
                if isinstance(event, Change):
                    told.pop(event.key, None)
                    if event.value is not None:
                        told[event.key] = event.value
                elif isinstance(event, Synced) and event.revision >= last:
                    break
        del told[self.room + "end"]
        assert told == {self.room + e.key: e.value for e in self.model.entries.values()}
        await self._compare_all()

    async def _do(self, operation: Commit | Revoke | Look) -> None:
        match operation:
            case Commit():
                await self._commit(_possible(operation))
            case Revoke(lease):
                await self.store.revoke(self.leases[lease])
                self.model.ended.add(lease)
                self.model.revoke(self.leases[lease])
            case Look(prefix, limit):
                await self._look(prefix, limit)

    async def _commit(self, commit: Commit) -> None:
        when = {name: self.model.believed(name, belief) for name, belief in commit.when.items()}
        writes: list[Put | Delete | DeletePrefix] = [
            *(Put(self.room + n, v, self.leases[lease]) for n, (v, lease) in commit.puts.items()),
            *(Delete(self.room + name) for name in commit.deletes),
            *(DeletePrefix(self.room + prefix) for prefix in commit.prefixes),
        ]
        conditions = [(self.room + name, version) for name, version in when.items()]
        if not self.model.holds(when):
            await self._refused(Conflict, writes, conditions)
        elif any(lease in self.model.ended for _, lease in commit.puts.values()):
            await self._refused(LeaseEnded, writes, conditions)
        else:
            version = await self.store.commit(writes, when=conditions)
            self.model.apply(commit, version, self.leases)

    async def _refused(
        self,
        kind: type[Conflict],
        writes: list[Put | Delete | DeletePrefix],
        when: list[tuple[str, int]],
    ) -> None:
        with pytest.raises(Conflict) as caught:
            await self.store.commit(writes, when=when)
        assert caught.type is kind

    async def _look(self, prefix: str, limit: int) -> None:
        page = await self.store.page(self.room + prefix, limit=limit)
        expected = self.model.listed(prefix)
        assert [self._local(entry) for entry in page.entries] == expected[:limit]
        assert page.more == (len(expected) > limit)

    async def _compare_all(self) -> None:
        entries, _ = await self.store.get_many([self.room + name for name in NAMES])
        found = [self._local(entry) if entry is not None else None for entry in entries]
        assert found == [self.model.entries.get(name) for name in NAMES]

    def _local(self, entry: Entry) -> Entry:
        return Entry(entry.key.removeprefix(self.room), entry.value, entry.version, entry.lease)


def _possible(commit: Commit) -> Commit:
    """Without the writes that touch a key twice, which are refused as a whole."""
    prefixes = tuple(commit.prefixes)
    puts = {
        name: put
        for name, put in commit.puts.items()
        if name not in commit.deletes and not name.startswith(prefixes)
    }
    return Commit(puts, commit.deletes, commit.prefixes, commit.when)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=operations)
def test_a_store_is_a_dict_with_versions(
    url: str, operations: list[Commit | Revoke | Look]
) -> None:
    async def play() -> None:
        store = await asyncio.to_thread(open_store, url)
        try:
            await Play(store).run(operations)
        finally:
            await store.close()

    asyncio.run(play())
