"""Programs may block their event loop as they like: here, unlike elsewhere, that is no mistake."""

import pytest


@pytest.fixture(autouse=True)
def blocking_calls_fail() -> None:
    """In place of the fixture of all other tests: an executor's loop is the program's own."""
