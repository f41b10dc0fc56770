"""The benchmarks run; what they measure depends on the machine, and is judged by people."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks import reports

ROOT = Path(__file__).parents[3]
GOALS = 7
GOALS_OF_DSPY = 5


def is_installed(command: str) -> bool:
    return bool(shutil.which(command) or shutil.which(command, path="/usr/sbin"))


def quick(module: str, results: Path) -> Any:
    """What it wrote as JSON."""
    finished = subprocess.run(
        [sys.executable, "-m", module, "--quick", "--json", str(results)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=360,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "Against the goals" in finished.stdout
    found = json.loads(results.read_text())
    assert all(one["rounds"] for one in found["results"])
    # A difference of a few runs on a busy machine may be anything.
    assert all(one["median"] > 0 for one in found["results"] if "over the LM" not in one["name"])
    return found


@pytest.mark.timeout(400)
@pytest.mark.skipif(
    not (is_installed("wrk") and is_installed("nginx")), reason="wrk or nginx is not installed"
)
def test_the_quick_benchmark_runs(tmp_path: Path) -> None:
    found = quick("benchmarks", tmp_path / "results.json")
    assert len(found["results"]) == GOALS
    assert len(found["samples"]) == 9


@pytest.mark.timeout(400)
def test_the_quick_benchmark_of_dspy_programs_runs(tmp_path: Path) -> None:
    found = quick("benchmarks.dspy", tmp_path / "results.json")
    assert len(found["results"]) == GOALS_OF_DSPY
    assert len(found["samples"]) == 2


def test_what_is_not_installed_is_named_with_how_to_get_it() -> None:
    with pytest.raises(SystemExit, match=r"no-such-rival is not installed in .*--group test"):
        reports.machine("aiohttp", "no-such-rival")
