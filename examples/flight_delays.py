"""How late were an airport's flights? `csv` and `statistics` of the standard library do."""

import csv
import statistics
from dataclasses import dataclass


@dataclass
class Delays:
    carrier: str
    flights: int
    cancelled: int
    median_minutes: float
    worst_minutes: int


def main(table: str, origin: str | None = None) -> list[Delays]:
    """Departure delays of the carriers that flew, the most punctual first."""
    delays: dict[str, list[int]] = {}
    cancelled: dict[str, int] = {}
    for row in csv.DictReader(table.splitlines()):
        if origin is not None and row["origin"] != origin:
            continue
        carrier = row["carrier"]
        cancelled.setdefault(carrier, 0)
        if row["departure_delay"]:
            delays.setdefault(carrier, []).append(int(row["departure_delay"]))
        else:
            cancelled[carrier] += 1
    found = [
        Delays(
            carrier,
            len(all_) + cancelled[carrier],
            cancelled[carrier],
            statistics.median(all_),
            max(all_),
        )
        for carrier, all_ in delays.items()
    ]
    return sorted(found, key=lambda one: (one.median_minutes, one.carrier))
