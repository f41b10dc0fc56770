"""Keeps used sessions alive, lazily: no write per call, and no question to the store for most.

This gateway knows of a session's lease only what it has seen itself: when it was last renewed from
here. A session that it meets for the first time is renewed before its call is sent, which also
shows that the session still is; afterwards in the background, when a quarter of the time has gone.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from anypod.store.kv import StoreUnavailable
from anypod.store.sessions import Pin, SessionStore
from anypod_gateway.errands import Errands

log = logging.getLogger(__name__)

FRESH = 0.75
"""Share of a lease's time above which it is not renewed."""
PRESSING = 0.25
"""Share below which a call waits for the renewal."""


@dataclass(slots=True)
class _Lease:
    pin: Pin
    lives_until: float
    """By the loop's clock, counted from before the store was asked; minus infinity if unknown."""
    is_asking: bool = False


class Renewals:
    def __init__(self, store: SessionStore, errands: Errands) -> None:
        self._store = store
        self._errands = errands
        self._leases: dict[str, _Lease] = {}

    def born(self, pin: Pin, asked_at: float) -> None:
        """This gateway has just granted the lease."""
        self._leases[pin.key] = _Lease(pin, asked_at + pin.ttl_seconds)

    def forget(self, key: str) -> None:
        self._leases.pop(key, None)

    async def keep(self, pin: Pin) -> bool:
        """Before a call is sent; False when the session has ended."""
        lease = self._leases.get(pin.key)
        if lease is None or lease.pin.lease != pin.lease:
            lease = self._leases[pin.key] = _Lease(pin, float("-inf"))
        left = (lease.lives_until - asyncio.get_running_loop().time()) / pin.ttl_seconds
        if left >= FRESH:
            return True
        if left >= PRESSING:
            self._renew_later(lease)
            return True
        return await self._renew(lease)

    def keep_running(self, pins: Iterable[Pin]) -> None:
        """Of sessions that run something now; called often."""
        now = asyncio.get_running_loop().time()
        for pin in pins:
            lease = self._leases.get(pin.key)
            if lease is not None and lease.lives_until - now < FRESH * pin.ttl_seconds:
                self._renew_later(lease)

    def sweep(self) -> None:
        """What has surely ended is not kept in memory."""
        now = asyncio.get_running_loop().time()
        for key in [k for k, lease in self._leases.items() if lease.lives_until < now]:
            if not self._leases[key].is_asking:
                del self._leases[key]

    def _renew_later(self, lease: _Lease) -> None:
        if not lease.is_asking:
            lease.is_asking = True
            self._errands.run(self._renew_in_background(lease))

    async def _renew_in_background(self, lease: _Lease) -> None:
        try:
            await self._renew(lease)
        finally:
            lease.is_asking = False

    async def _renew(self, lease: _Lease) -> bool:
        asked_at = asyncio.get_running_loop().time()
        try:
            lives = await self._store.renew(lease.pin)
        except StoreUnavailable as reason:
            # The call may well do without: only a new state needs the store.
            log.debug("session %s could not be renewed: %s", lease.pin.key, reason)
            return True
        if lives:
            lease.lives_until = asked_at + lease.pin.ttl_seconds
        elif self._leases.get(lease.pin.key) is lease:
            del self._leases[lease.pin.key]
        return lives
