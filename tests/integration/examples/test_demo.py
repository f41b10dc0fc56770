"""``make demo``: it ends well, and shows what it promises."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.timeout(180)
def test_the_demo_finds_nothing_wrong(tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, str(EXAMPLES / "demo.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "\x1b" not in finished.stdout, "colours are for terminals"
    for shown in ("speakers", "deadline-exceeded", "kill -9", "42 pages", "none left"):
        assert shown in finished.stdout
    assert list(tmp_path.iterdir()) == []
