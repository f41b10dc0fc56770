"""How often callers from one address have shown what opens nothing, in bounded memory."""

import ipaddress
import math
from collections import OrderedDict

BURST = 20
PER_SECOND = 1.0
MAX_ADDRESSES = 10_000
_V6_BITS = 64
"""Of an address that say who it is; the rest one machine can choose freely."""


class FailedAttempts:
    def __init__(self) -> None:
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """How many failures are not yet forgiven, and as of when; the longest silent first."""

    def note(self, address: str, now: float) -> bool:
        """Whether this is the one with which the limit is reached."""
        source = source_of(address)
        before = self._level(source, now)
        level = min(before + 1, float(BURST))
        self._levels[source] = (level, now)
        self._levels.move_to_end(source)
        if len(self._levels) > MAX_ADDRESSES:
            self._levels.popitem(last=False)
        return before <= BURST - 1 < level

    def wait(self, address: str, now: float) -> int:
        """Seconds until another failure would be one too many no longer; 0 when it would not be."""
        excess = self._level(source_of(address), now) - (BURST - 1)
        return max(0, math.ceil(excess / PER_SECOND))

    def __len__(self) -> int:
        return len(self._levels)

    def _level(self, source: str, now: float) -> float:
        level, then = self._levels.get(source, (0.0, now))
        return max(0.0, level - (now - then) * PER_SECOND)


def source_of(address: str) -> str:
    """All addresses that one caller can have are one source."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed), _V6_BITS), strict=False))
