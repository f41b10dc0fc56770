"""Find flights: a pydantic model as input, and what does not fit it never reaches the function."""

import csv
from datetime import date, time
from enum import StrEnum

from pydantic import BaseModel, Field, TypeAdapter


class Airport(StrEnum):
    NEWARK = "EWR"
    KENNEDY = "JFK"
    LA_GUARDIA = "LGA"


class Query(BaseModel):
    origin: Airport
    destination: str = Field(pattern="^[A-Z]{3}$")
    day: date
    not_before: time = time(0, 0)
    limit: int = Field(default=5, ge=1, le=100)


class Flight(BaseModel):
    carrier: str
    flight: int
    scheduled: time
    departure_delay: int | None


FLIGHTS = TypeAdapter(list[Flight])


def main(table: str, query: Query) -> list[Flight]:
    """The flights of that day, in the order of their departure."""
    rows = [
        {**row, "departure_delay": row["departure_delay"] or None}
        for row in csv.DictReader(table.splitlines())
        if row["origin"] == query.origin
        and row["destination"] == query.destination
        and row["date"] == query.day.isoformat()
    ]
    flights = [one for one in FLIGHTS.validate_python(rows) if one.scheduled >= query.not_before]
    return sorted(flights, key=lambda one: one.scheduled)[: query.limit]
