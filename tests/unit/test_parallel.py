"""Tests that share what takes long to start run in one process, and no others have to."""

from pathlib import Path

import pytest
from tests import parallel

ROOT = Path(__file__).parents[2]


def test_the_tests_of_a_file_stay_together() -> None:
    file = "tests/unit/cli/test_run.py"
    assert parallel.scope_of(f"{file}::test_a[x::y]") == file
    assert parallel.scope_of(f"{file}::TestClass::test_b") == file


@pytest.mark.parametrize("shared", sorted({*parallel.TOGETHER.values()}))
def test_what_shares_something_stays_together(shared: str) -> None:
    places = [place for place, what in parallel.TOGETHER.items() if what == shared]
    files = [each if each.endswith(".py") else f"{each}/more/test_a.py" for each in places]
    assert {parallel.scope_of(f"{file}::test_1") for file in files} == {shared}


@pytest.mark.parametrize("place", parallel.TOGETHER)
def test_what_is_said_to_share_something_is_there(place: str) -> None:
    assert (ROOT / place).exists()


def test_there_are_more_processes_than_one_and_no_more_than_clusters_fit() -> None:
    assert 2 <= parallel.pytest_xdist_auto_num_workers() <= parallel.MOST_PROCESSES
