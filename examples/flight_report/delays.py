"""What is computed."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True)
class Carrier:
    carrier: str
    flights: int
    cancelled: int
    mean_minutes: float


def by_carrier(flights: Iterable[dict[str, str]]) -> list[Carrier]:
    """The carriers with the most flights first."""
    delays: dict[str, list[str]] = defaultdict(list)
    for flight in flights:
        delays[flight["carrier"]].append(flight["departure_delay"])
    found = []
    for carrier, all_ in delays.items():
        flown = [int(delay) for delay in all_ if delay]
        mean = fmean(flown) if flown else 0.0
        found.append(Carrier(carrier, len(all_), len(all_) - len(flown), mean))
    return sorted(found, key=lambda one: (-one.flights, one.carrier))
