"""A gateway's programs in memory: all heads, kept by the pool's watch, and the blobs used last.

What is served here is as good as a read of the store: see ``anypod.store.pool_watch`` for when a
head may be served. That a program is absent is said by the store alone.
"""

import asyncio
from collections import OrderedDict
from typing import Generic, TypeVar

from anypod.store.keys import PoolKeys, ProgramKeys
from anypod.store.kv import KeyValue, StoreUnavailable
from anypod.store.pool_watch import Freshness, PoolWatch
from anypod.store.program_records import Head, History, RevisionNotFound
from anypod.store.records import decode
from anypod.store.revisions import Revision
from anypod.store.views import RecordView

_BLOB_BYTES = 64 * 1024 * 1024
_HISTORY_BYTES = 4 * 1024 * 1024

Name = tuple[str, ...]
T = TypeVar("T")


class ProgramCache:
    """Made before its PoolWatch runs. Methods may raise StoreUnavailable, UnreadableRecord and
    InvalidName."""

    def __init__(
        self, store: KeyValue, keys: PoolKeys, watch: PoolWatch, *, blob_bytes: int = _BLOB_BYTES
    ) -> None:
        self._store = store
        self._keys = keys
        self._watch = watch
        self._heads = RecordView(Head)
        self._session_heads = RecordView(Head)
        self._blobs: ByteLru[Revision] = ByteLru(blob_bytes)
        self._histories: ByteLru[History] = ByteLru(_HISTORY_BYTES)
        self._loading: dict[Name, asyncio.Task[Revision | None]] = {}
        watch.add(keys.programs.heads, self._heads)
        watch.add(keys.session_heads, self._session_heads)

    async def head(self, program: str, session: str | None = None) -> Head | None:
        """The program as it is now: the session's own, else the pool's; None only if the store
        says so."""
        places = [(self._heads, self._keys.programs.head(program))]
        if session is not None:
            owned = self._keys.session_programs(session).head(program)
            places.insert(0, (self._session_heads, owned))
        freshness = await self._watch.current()
        cached = next((head for view, key in places if (head := view.get(key))), None)
        if cached is not None and freshness is not Freshness.LAGGING:
            return cached
        if freshness is Freshness.AWAY:
            raise StoreUnavailable("the store does not answer, and the program is not known here")
        return await self._read_head([key for _, key in places], cached)

    async def revision(self, head: Head, revision: str | None = None) -> Revision | None:
        """The blob of the head's revision, or of another one of the same program; None when it
        has been deleted."""
        wanted = revision or head.revision
        name = (head.session or "", head.id, head.uid, wanted)
        found = self._blobs.get(name)
        if found is not None:
            return found
        loading = self._loading.get(name)
        if loading is None:
            loading = asyncio.create_task(self._load(name, self._owner(head), head.id, wanted))
            self._loading[name] = loading
            loading.add_done_callback(lambda done: self._loaded(name, done))
        return await asyncio.shield(loading)

    async def resolve(self, head: Head, name: str) -> str:
        """The revision that ``name``, whole or a prefix, means. Raises RevisionNotFound."""
        if name == head.revision:
            return name
        return (await self._history(head)).find(name)

    async def _read_head(self, keys: list[str], cached: Head | None) -> Head | None:
        try:
            entries, _ = await self._store.get_many(keys)
        except StoreUnavailable:
            if cached is None:
                raise
            return cached
        entry = next((entry for entry in entries if entry is not None), None)
        return decode(entry, Head) if entry is not None else None

    async def _load(
        self, name: Name, owner: ProgramKeys, program: str, revision: str
    ) -> Revision | None:
        entry = await self._store.get(owner.revision(program, revision))
        if entry is None:
            return None
        blob = decode(entry, Revision)
        self._blobs.put(name, blob, len(entry.value))
        return blob

    def _loaded(self, name: Name, done: asyncio.Task[Revision | None]) -> None:
        del self._loading[name]
        if not done.cancelled():
            done.exception()  # each waiter gets it; there may be none left

    async def _history(self, head: Head) -> History:
        # Every change of a history is a change of the head, so the head's version names it.
        name = (head.session or "", head.id, head.uid, str(head.version))
        history = self._histories.get(name)
        if history is None:
            entry = await self._store.get(self._owner(head).history(head.id))
            if entry is None:
                raise RevisionNotFound(f"program {head.id!r} was deleted meanwhile")
            history = decode(entry, History)
            self._histories.put(name, history, len(entry.value))
        return history

    def _owner(self, head: Head) -> ProgramKeys:
        if head.session is None:
            return self._keys.programs
        return self._keys.session_programs(head.session)


class ByteLru(Generic[T]):
    """What was used last, as much as fits into so many bytes."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._held = 0
        self._items: OrderedDict[Name, tuple[T, int]] = OrderedDict()

    def get(self, name: Name) -> T | None:
        found = self._items.get(name)
        if found is None:
            return None
        self._items.move_to_end(name)
        return found[0]

    def put(self, name: Name, item: T, size: int) -> None:
        if name in self._items:
            self._held -= self._items.pop(name)[1]
        self._items[name] = (item, size)
        self._held += size
        while self._held > self._bound:
            _, (_, dropped) = self._items.popitem(last=False)
            self._held -= dropped
