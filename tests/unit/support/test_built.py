"""Tests that need an API and no cluster are skipped where Kubernetes would have to be built."""

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
OF_CLUSTERS = ("integration/cluster", "e2e", "chaos")


def test_only_tests_of_clusters_wait_for_a_build() -> None:
    """`make test-fast` leaves these out. Who starts an API server asks first if it is built."""
    files = [*TESTS.rglob("conftest.py"), *TESTS.rglob("test_*.py")]
    clusters = [TESTS / name for name in OF_CLUSTERS]
    sources = {
        str(file.relative_to(TESTS)): file.read_text()
        for file in files
        if not any(file.is_relative_to(folder) for folder in clusters)
    }
    starts = re.compile(r"^ *with (api_server|running_api)\(", re.MULTILINE)
    starting = {file for file, source in sources.items() if starts.search(source)}
    assert starting
    assert {file for file in starting if " = why_no_api_yet()" not in sources[file]} == set()
