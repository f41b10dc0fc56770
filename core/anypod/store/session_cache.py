"""A gateway's sessions in memory: which worker has which, kept by the pool's watch."""

from collections.abc import Callable

from anypod.store.keys import PoolKeys
from anypod.store.kv import KeyValue, StoreUnavailable
from anypod.store.pool_watch import Freshness, PoolWatch
from anypod.store.records import decode
from anypod.store.sessions import Pin
from anypod.store.views import RecordView

OnLeft = Callable[[Pin], None]
"""Is told of a pin that holds no more: the session ended, expired, or has another epoch."""


class SessionCache:
    """Made before its PoolWatch runs.

    ``on_left`` is called by the watch's task and must not wait; an exception in it ends the watch.
    """

    def __init__(
        self, store: KeyValue, keys: PoolKeys, watch: PoolWatch, on_left: OnLeft | None = None
    ) -> None:
        self._store = store
        self._keys = keys
        self._watch = watch
        self._on_left = on_left
        self._pins = RecordView(Pin, self._changed)
        watch.add(keys.pins, self._pins)

    def __len__(self) -> int:
        """How many sessions there are, as far as the watch has told."""
        return len(self._pins)

    async def pin(self, session: str) -> Pin | None:
        """Where the session is now; None only if the store says so. Raises StoreUnavailable,
        UnreadableRecord, InvalidName."""
        key = self._keys.pin(session)
        freshness = await self._watch.current()
        cached = self._pins.get(key)
        if cached is not None and freshness is not Freshness.LAGGING:
            return cached
        if freshness is Freshness.AWAY:
            raise StoreUnavailable("the store does not answer, and the session is not known here")
        return await self._read(key, cached)

    async def _read(self, key: str, cached: Pin | None) -> Pin | None:
        try:
            entry = await self._store.get(key)
        except StoreUnavailable:
            if cached is None:
                raise
            return cached
        return decode(entry, Pin) if entry is not None else None

    def _changed(self, before: Pin | None, now: Pin | None) -> None:
        if before is None or self._on_left is None:
            return
        if now is None or now.epoch != before.epoch:
            self._on_left(before)
