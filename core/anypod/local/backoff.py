"""How long to wait before what has died is started again."""

from dataclasses import dataclass, field
from time import monotonic

FIRST_SECONDS = 0.5
MOST_SECONDS = 30.0
STABLE_SECONDS = 10.0
"""Who has been well for this long is started again at once."""


@dataclass
class Backoff:
    _next: float = 0.0
    _well_since: float | None = field(default=None)

    def well(self) -> None:
        """It is ready now."""
        if self._well_since is None:
            self._well_since = monotonic()

    def died(self) -> float:
        """Seconds to wait."""
        stable = self._well_since is not None and monotonic() - self._well_since > STABLE_SECONDS
        self._well_since = None
        if stable:
            self._next = 0.0
        pause = self._next
        self._next = min(MOST_SECONDS, max(FIRST_SECONDS, 2 * self._next))
        return pause
