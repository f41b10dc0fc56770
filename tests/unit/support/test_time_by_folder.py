"""A test's seconds are counted to the folder that it lies in."""

import pytest
from tests.support.time_by_folder import folder_of


@pytest.mark.parametrize(
    ("nodeid", "folder"),
    [
        ("tests/integration/worker/test_x.py::test_a[b::c]", "tests/integration/worker"),
        ("tests/e2e/test_x.py::test_a", "tests/e2e"),
        ("tests/integration/a/b/test_x.py::test_a", "tests/integration/a"),
    ],
)
def test_tests_are_counted_to_their_folder(nodeid: str, folder: str) -> None:
    assert folder_of(nodeid) == folder
