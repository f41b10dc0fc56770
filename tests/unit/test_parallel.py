"""Tests that share what takes long to start run in one process, and no others have to."""

import pytest
from tests import parallel


def test_the_tests_of_a_file_stay_together() -> None:
    file = "tests/unit/cli/test_run.py"
    assert parallel.scope_of(f"{file}::test_a[x::y]") == file
    assert parallel.scope_of(f"{file}::TestClass::test_b") == file


@pytest.mark.parametrize("folder", parallel.TOGETHER)
def test_the_files_of_some_folders_stay_together(folder: str) -> None:
    names = [f"{folder}/test_a.py::test_1", f"{folder}/more/test_b.py::test_2"]
    assert {parallel.scope_of(name) for name in names} == {folder}


def test_there_are_more_processes_than_one_and_no_more_than_clusters_fit() -> None:
    assert 2 <= parallel.pytest_xdist_auto_num_workers() <= parallel.MOST_PROCESSES
