"""Tests that share what takes long to start run in one process, and no others have to."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from tests import parallel
from tests.cluster.waiting import wait_until

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


def test_chaos_and_e2e_run_side_by_side_unless_they_have_one_cluster() -> None:
    tests = [f"tests/{folder}/test_a.py::test_1" for folder in ("chaos", "e2e")]
    assert len({parallel.scope_of(each) for each in tests}) == 2
    assert len({parallel.scope_of(each, one_cluster=True) for each in tests}) == 1
    other = "tests/unit/test_a.py"
    assert parallel.scope_of(other, one_cluster=True) == other


@pytest.mark.parametrize(
    ("options", "one"),
    [
        ([], False),
        (["--cluster=bare"], False),
        (["--keep"], True),
        (["--kind-name=mine"], True),
        (["--cluster=existing", "--context=mine"], True),
    ],
)
def test_a_cluster_that_is_kept_or_was_there_before_is_one_for_all(
    pytestconfig: pytest.Config, options: list[str], one: bool
) -> None:
    namespace = pytestconfig._parser.parse_known_args(options)

    class Config:
        def getoption(self, name: str, default: object) -> object:
            return getattr(namespace, name.removeprefix("--").replace("-", "_"), default)

    assert parallel.has_one_cluster(Config()) is one


@pytest.mark.parametrize("place", parallel.TOGETHER)
def test_what_is_said_to_share_something_is_there(place: str) -> None:
    assert (ROOT / place).exists()


def test_there_are_more_processes_than_one_and_no_more_than_clusters_fit() -> None:
    assert 2 <= parallel.pytest_xdist_auto_num_workers() <= parallel.MOST_PROCESSES


SLOW_TO_END = """
import pathlib, time
import pytest

@pytest.fixture
def started():
    path = pathlib.Path(__file__)
    path.with_suffix(".up").touch()
    yield
    time.sleep(2)
    path.with_suffix(".ended").touch()

def test_it(started):
    time.sleep(60)
"""
IMPATIENT = """
from xdist.workermanage import NodeManager

NodeManager.EXIT_TIMEOUT = 0.1
"""


def test_an_interrupted_run_ends_what_its_tests_have_started(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(IMPATIENT)
    files = [tmp_path / f"test_{name}.py" for name in "ab"]
    for file in files:
        file.write_text(SLOW_TO_END)
    options = ["-n", "2", "-p", "tests.parallel", "-p", "no:asyncio", "--rootdir", str(tmp_path)]
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for file in files:
            wait_until(file.with_suffix(".up").exists, f"{file.name} runs", 60)
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does
        run.wait(60)
        assert all(file.with_suffix(".ended").exists() for file in files)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
