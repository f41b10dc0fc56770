"""The benchmark runs; what it measures depends on the machine, and is judged by people."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
GOALS = 7


def is_installed(command: str) -> bool:
    return bool(shutil.which(command) or shutil.which(command, path="/usr/sbin"))


@pytest.mark.timeout(400)
@pytest.mark.skipif(
    not (is_installed("wrk") and is_installed("nginx")), reason="wrk or nginx is not installed"
)
def test_the_quick_benchmark_runs(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--json", str(results)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=360,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "Against the goals" in finished.stdout
    found = json.loads(results.read_text())
    assert len(found["results"]) == GOALS
    assert all(one["median"] > 0 and one["rounds"] for one in found["results"])
    assert len(found["samples"]) == 9
