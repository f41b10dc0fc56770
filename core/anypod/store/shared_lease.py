"""A lease that many records share: a store should not have one for each.

What is put with it is kept for the time asked for at least, and for an hour more at most.
"""

import time

from anypod.store.kv import KeyValue

_SHARE_SECONDS = 3600.0


class SharedLease:
    def __init__(self, store: KeyValue) -> None:
        self._store = store
        self._lease = 0
        self._kept = 0.0
        """The seconds that what is put with it is kept for at least."""
        self._until = 0.0

    async def get(self, keep_seconds: float) -> int:
        """Raises StoreUnavailable."""
        now = time.monotonic()
        if not self._lease or now > self._until or keep_seconds != self._kept:
            self._lease = await self._store.grant(keep_seconds + _SHARE_SECONDS)
            self._kept, self._until = keep_seconds, now + _SHARE_SECONDS
        return self._lease

    def ended(self) -> None:
        """It was refused; the next ``get`` brings another."""
        self._lease = 0
