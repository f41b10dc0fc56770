"""A report in Markdown, by a program of several files: two modules, and a table that they read."""

from datetime import date

from delays import by_carrier
from tables import carrier_names, markdown, read


def main(table: str, day: date) -> str:
    """How each carrier did on one day."""
    names = carrier_names()
    flights = [flight for flight in read(table) if flight["date"] == day.isoformat()]
    rows = [
        [names[one.carrier], one.flights, one.cancelled, f"{one.mean_minutes:.1f}"]
        for one in by_carrier(flights)
    ]
    return markdown(["carrier", "flights", "cancelled", "mean delay in minutes"], rows)
