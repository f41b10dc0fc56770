"""What each folder of tests took, printed at a run's end: where to begin when a run takes long.

Tests run side by side, so these seconds are more than the run took.
"""

from collections import Counter
from pathlib import PurePosixPath
from typing import Any

PARTS = 3
"""Of a path: tests/integration/worker."""
LEAST_SECONDS = 1.0


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [report for each in terminalreporter.stats.values() for report in each]
    seconds: Counter[str] = Counter()
    for report in reports:
        if hasattr(report, "duration"):
            seconds[folder_of(report.nodeid)] += report.duration
    if sum(seconds.values()) < LEAST_SECONDS:
        return
    terminalreporter.section("seconds by folder")
    for folder, taken in seconds.most_common():
        terminalreporter.line(f"{taken:8.1f}  {folder}")


def folder_of(nodeid: str) -> str:
    file = PurePosixPath(nodeid.partition("::")[0])
    return "/".join(file.parts[: min(PARTS, len(file.parts) - 1)])
