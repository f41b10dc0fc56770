"""How long to wait before what has died is started again."""

from dataclasses import dataclass, field


@dataclass
class Backoff:
    """At once after the first death, then longer each time, until one has lived well for long."""

    first: float
    longest: float
    stable: float
    _next: float = field(default=0.0, init=False)

    def pause(self, well_for: float) -> float:
        """``well_for`` is for how many seconds the dead one had been well."""
        if well_for >= self.stable:
            self._next = 0.0
        pause = self._next
        self._next = min(max(self.first, 2 * pause), self.longest)
        return pause

    @staticmethod
    def say(pause: float) -> str:
        return f"trying again in {pause:g} s" if pause else "it is started again"
