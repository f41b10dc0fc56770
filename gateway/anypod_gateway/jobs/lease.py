"""By which this gateway's claims hold, and when it has to take for granted that they do not.

Another gateway takes a job over when the lease has ended. By then nothing that this one has begun
may run any more, though it be frozen or cut off: so nothing is begun, and what could be run again
elsewhere is stopped, MARGIN before the lease could end. That is the time in which a worker notices
that its gateway is silent, and kills what it had from there.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from anypod.store.kv import KeyValue, LeaseEnded

log = logging.getLogger(__name__)

SILENCE_SECONDS = 24.0
"""A worker gives a silent link up within that: its heartbeat, and half of it for the answer."""
RENEW_SECONDS = 2.0
HOLD_SECONDS = 8.0
"""After a renewal; so long a store may be slow, or be started again."""
_KILL_SECONDS = 1.0


def margin(grace: float) -> float:
    """After the last word of a gateway, until no worker runs anything for it any more."""
    return SILENCE_SECONDS + grace + _KILL_SECONDS


class Lease:
    def __init__(self, store: KeyValue, grace: Callable[[], float]) -> None:
        """``grace``: of the pool, between an interrupt and the kill."""
        self._store = store
        self._grace = grace
        self._lease = 0
        self._until = 0.0
        self._lock = asyncio.Lock()

    def holds(self, lease: int) -> bool:
        """What was claimed by that one may be begun, and go on."""
        return not self.is_over(lease) and asyncio.get_running_loop().time() < self._until

    def is_over(self, lease: int) -> bool:
        """That one is known to have ended, whether or not there is another one since."""
        return lease != self._lease

    async def get(self) -> int:
        """Raises StoreUnavailable."""
        async with self._lock:
            if not self._lease:
                begun = asyncio.get_running_loop().time()
                self._lease = await self._store.grant(HOLD_SECONDS + margin(self._grace()))
                self._until = begun + HOLD_SECONDS
            return self._lease

    @asynccontextmanager
    async def claiming(self) -> AsyncIterator[int]:
        """The lease, for a claim; it knows that it has ended if the store says so. Raises
        StoreUnavailable."""
        lease = await self.get()
        try:
            yield lease
        except LeaseEnded:
            self.ended(lease)
            raise

    async def renew(self) -> bool:
        """False when it has ended, and with it all claims. Raises StoreUnavailable."""
        lease = self._lease
        if not lease:
            return True
        begun = asyncio.get_running_loop().time()
        if await self._store.renew(lease):
            self._until = begun + HOLD_SECONDS
            return True
        self.ended(lease)
        return False

    def ended(self, lease: int) -> None:
        if self._lease == lease:
            self._lease = 0

    async def end(self) -> None:
        """Raises StoreUnavailable."""
        lease, self._lease = self._lease, 0
        if lease:
            await self._store.revoke(lease)
