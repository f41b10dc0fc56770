"""Figures that a run measures, printed at its end: a test gives a line, and asserts nothing of it.

They travel with the tests' reports, as those of another process do.
"""

from collections.abc import Callable
from typing import Any

import pytest

_FIGURE = "figure"
Figure = Callable[[str], None]


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Keeps a line for the end of the run."""

    def keep(line: str) -> None:
        request.node.user_properties.append((_FIGURE, line))

    return keep


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [report for each in terminalreporter.stats.values() for report in each]
    lines = [
        line
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, line in report.user_properties
        if name == _FIGURE
    ]
    if lines:
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.line(line)
