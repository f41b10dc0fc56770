"""The goals, and the table that sets what was measured beside them."""

import operator
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Goal:
    name: str
    bound: float
    unit: str
    at_most: bool

    @property
    def text(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.bound:g} {self.unit}".rstrip()

    def is_met(self, value: float) -> bool:
        compare: Callable[[float, float], bool] = operator.le if self.at_most else operator.ge
        return compare(value, self.bound)


@dataclass(frozen=True, slots=True)
class Measured:
    goal: Goal
    value: float
    rounds: tuple[float, ...]
    """What each round gave; ``value`` is their median."""


NGINX = Goal("requests/s, against nginx before 2 aiohttp workers, c=32", 0.6, "x", at_most=False)
HTTP_CLIENT = Goal(
    "requests/s, against the same gateway over aiohttp's HTTP client, c=32", 2, "x", at_most=False
)
LATENCY = Goal("p50 of one call at a time", 0.5, "ms", at_most=True)
READY_PLAIN = Goal("8 workers ready from nothing, aiohttp preloaded", 2, "s", at_most=True)
READY_PANDAS = Goal("8 workers ready from nothing, pandas preloaded", 4, "s", at_most=True)
REPLACED = Goal("a dead executor replaced", 50, "ms", at_most=True)
MEMORY = Goal("PSS of one more executor", 12, "MiB", at_most=True)

FIRST_ASKED = Goal(
    "a new executor's first DSPy run, over the LM's own time", 30, "ms", at_most=True
)
READY_DSPY = Goal("8 workers ready from nothing, dspy preloaded", 4, "s", at_most=True)
MEMORY_DSPY = Goal("PSS of one more executor that has asked an LM", 15, "MiB", at_most=True)
OVERHEAD = Goal("p50 of one DSPy run at a time, over the LM's own time", 5, "ms", at_most=True)
MANY_ASKED = Goal("200 DSPy runs at once, LM answers in 2 s, 4 executors", 4, "s", at_most=True)


def show(console: Console, results: list[Measured]) -> None:
    table = Table(title="Against the goals", title_justify="left")
    for heading in ("what", "goal", "median", "range", "met"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for one in results:
        low, high = min(one.rounds), max(one.rounds)
        met = "yes" if one.goal.is_met(one.value) else "NO"
        unit = f" {one.goal.unit}"
        table.add_row(
            one.goal.name, one.goal.text, f"{one.value:.3g}{unit}", f"{low:.3g} - {high:.3g}", met
        )
    console.print(table)
