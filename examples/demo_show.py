"""What a person sees of the demo, and the list of what was not as it should be."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from anypod.client import Answer


@dataclass
class Show:
    """What a person sees, and what was not as it should be."""

    console: Console
    failures: list[str] = field(default_factory=list)
    by_worker: Counter[str] = field(default_factory=Counter)
    """Executions that were answered, by worker."""

    def heading(self, text: str) -> None:
        self.console.print(f"\n[bold]{text}[/bold]", highlight=False)

    def line(self, text: str) -> None:
        self.console.print(f"  {text}", highlight=False, markup=False, soft_wrap=True)

    def table(self, *headings: str) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2))
        for heading in ("", *headings):
            table.add_column(heading, overflow="fold")
        return table

    def check(self, what: str, holds: bool) -> None:
        if not holds:
            self.failures.append(what)
            self.console.print(f"  [red]WRONG[/red] {what}", highlight=False)

    def note(self, answer: Answer) -> Answer:
        self.by_worker[answer.execution.worker] += 1
        return answer


def say_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def say_part(part: dict[str, Any]) -> str:
    return f"{part['speaker']}: {part['speeches']} speeches, {part['words']} words"


def say_delay(delay: dict[str, Any]) -> str:
    return f"{delay['carrier']} is the most punctual: median {delay['median_minutes']:g} minutes"


def say_flight(flight: dict[str, Any]) -> str:
    return f"{flight['carrier']} {flight['flight']} at {flight['scheduled'][:5]}"
