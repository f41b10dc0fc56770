"""Which pins this gateway believes in: the newest that it has seen of each session it serves.

The watch's cache may not yet show what this gateway has written itself, and the cache may know of
moves that others made; the higher epoch is right.
"""

from collections import Counter

from anypod.store.kv import StoreUnavailable
from anypod.store.session_cache import SessionCache
from anypod.store.sessions import Pin


class Pins:
    def __init__(self) -> None:
        self._cache: SessionCache | None = None
        self._known: dict[str, Pin] = {}
        self._pinned: Counter[str] = Counter()
        """How many of these there are, by the instance of their worker."""

    def use(self, cache: SessionCache) -> None:
        """Made after this, since it tells whoever has this of what ends."""
        self._cache = cache

    def at(self, instance: str) -> int:
        """Sessions that are known to be pinned to that process of a worker."""
        return self._pinned[instance]

    def known(self, key: str) -> Pin | None:
        """Without a look at the store."""
        return self._known.get(key)

    async def current(self, key: str) -> Pin | None:
        """Where the session is now; None only if the store says so. Raises StoreUnavailable."""
        assert self._cache is not None
        try:
            pin = await self._cache.pin(key)
        except StoreUnavailable:
            known = self._known.get(key)
            if known is None:
                raise
            return known
        known = self._known.get(key)
        if pin is None:
            if known is not None:
                self.forget(known)
            return None
        if known is None or known.epoch < pin.epoch:
            self.learn(pin)
            return pin
        return known

    def learn(self, pin: Pin) -> None:
        known = self._known.get(pin.key)
        if known is not None:
            self._unpin(known)
        self._known[pin.key] = pin
        self._pinned[pin.instance] += 1

    def forget(self, pin: Pin) -> bool:
        """It holds no more; False when a newer one is known."""
        known = self._known.get(pin.key)
        if known is None or known.epoch > pin.epoch:
            return False
        del self._known[pin.key]
        self._unpin(known)
        return True

    def _unpin(self, pin: Pin) -> None:
        self._pinned[pin.instance] -= 1
        if not self._pinned[pin.instance]:
            del self._pinned[pin.instance]
