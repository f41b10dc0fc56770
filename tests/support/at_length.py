"""Tests that have two sizes: as short as they still show everything, or at length.

`make test` has all of them short; `make chaos` takes its time.
"""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--at-length", action="store_true", help="chaos: more of it, and for longer")


@pytest.fixture(scope="session")
def at_length(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--at-length"))
