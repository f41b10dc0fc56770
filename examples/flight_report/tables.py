"""What is read and written."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path


def read(table: str) -> list[dict[str, str]]:
    return list(csv.DictReader(table.splitlines()))


def carrier_names() -> dict[str, str]:
    """From a file of the program itself."""
    text = Path(__file__).with_name("airlines.csv").read_text()
    return {row["carrier"]: row["name"] for row in read(text)}


def markdown(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)
