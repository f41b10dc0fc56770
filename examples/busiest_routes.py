"""The busiest routes, with pandas: for a pool that preloads it (`preload: [pandas]`)."""

from dataclasses import dataclass
from io import StringIO

import pandas as pd


@dataclass
class Route:
    origin: str
    destination: str
    flights: int
    carriers: int
    punctual: float
    """Share of the flights that left at most 15 minutes late."""


def main(table: str, top: int = 5) -> list[Route]:
    """The routes with the most flights."""
    flights = pd.read_csv(StringIO(table))
    flights["punctual"] = flights["departure_delay"] <= 15
    routes = flights.groupby(["origin", "destination"], as_index=False).agg(
        flights=("flight", "size"), carriers=("carrier", "nunique"), punctual=("punctual", "mean")
    )
    busiest = routes.sort_values("flights", ascending=False, kind="stable").head(top)
    return [Route(*row) for row in busiest.round(3).itertuples(index=False)]
