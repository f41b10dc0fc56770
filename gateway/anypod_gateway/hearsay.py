"""Whether a gateway that the store does not answer may go on with what it knows.

It may as long as nobody knows more: then no program was changed behind its back. Gateways tell the
workers how long the store has not answered them, and how far they know it; workers pass that on.
A gateway that no worker tells anything is cut off from more than the store, and may not.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from anypod.store.pool_watch import Knowledge
from anypod.wire.messages import Saw

SILENT_SECONDS = 10.0
"""A store that has been silent for less is not away yet."""
SLACK_SECONDS = 3.0
"""By so much gateways may differ in when a store last answered them that ended for all at once:
each asks it once a second at least."""
TICKS_TO_SAY = 4
"""Of the pool's clock, between two words to the workers."""
BELIEVED_SECONDS = 8.0
"""What a worker has passed on holds for so long: three answers may be missed."""


@dataclass(frozen=True, slots=True)
class Hearsay:
    """What a worker has last passed on of other gateways, and when that came."""

    came: float
    others: list[Saw]


def why_left_behind(own: Knowledge, told: Iterable[Hearsay | None], now: float) -> str | None:
    """``told``: by workers that are linked."""
    if own.silent_seconds <= SILENT_SECONDS:
        return None
    away = "the store has not answered"
    if math.isfinite(own.silent_seconds):
        away += f" for {own.silent_seconds:.0f} s"
    believed = [each for each in told if each and now - each.came <= BELIEVED_SECONDS]
    if not believed:
        return f"{away}, and no worker says whether it answers other gateways"
    if own.changes > own.delivered:
        return f"{away}, and had not told all that was changed"
    if any(_is_ahead(other, now - each.came, own) for each in believed for other in each.others):
        return f"{away}, and other gateways know more of it"
    return None


def _is_ahead(other: Saw, age: float, own: Knowledge) -> bool:
    silent = other.seconds + age
    if silent < own.silent_seconds - SLACK_SECONDS:
        return True
    return silent < own.silent_seconds + SLACK_SECONDS and other.version > own.delivered
