"""Did a flight make up for its delay in the air? One row of the table, for `anypod map`."""

from dataclasses import dataclass
from datetime import date


@dataclass
class Recovery:
    flight: str
    day: date
    recovered: int | None
    """Minutes; negative when it lost more."""
    per_100_miles: float | None
    verdict: str


def main(
    date: date,
    carrier: str,
    flight: int,
    origin: str,
    destination: str,
    miles: int,
    departure_delay: int | None = None,
    arrival_delay: int | None = None,
    **others: str,
) -> Recovery:
    """What became of the delay between departure and arrival."""
    name = f"{carrier}{flight} {origin}-{destination}"
    if departure_delay is None or arrival_delay is None:
        return Recovery(name, date, None, None, "did not arrive as planned")
    recovered = departure_delay - arrival_delay
    if departure_delay <= 0:
        verdict = "was never late" if arrival_delay <= 0 else "lost its lead"
    else:
        verdict = "caught up" if arrival_delay <= 0 else "stayed late"
    return Recovery(name, date, recovered, round(100 * recovered / miles, 2), verdict)
