"""How far a batch is, on a terminal's stderr only: a bar, the rate, an estimate, the failures."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from anypod.printable import printable

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import Task, TaskID


class Progress:
    def __init__(self, text: str, total: int | None) -> None:
        self._text = text
        self._total = total
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._failed = 0

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._bar = _bar()
            self._task = self._bar.add_task(self._text, total=self._total, failed=0)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, *, failed: bool) -> None:
        self._failed += failed
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=1, failed=self._failed)

    def say(self, line: str) -> None:
        """Above the bar. What programs wrote may be in it."""
        line = printable(line)
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr)  # noqa: T201


def _bar() -> "Bar":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: "Task") -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:,.1f}/s" if speed else "-/s")

    class Failed(ProgressColumn):
        def render(self, task: "Task") -> Text:
            failed = task.fields["failed"]
            return Text(f"{failed} failed", style="bold red" if failed else "dim")

    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        Failed(),
        console=Console(stderr=True),
    )
