"""The programs that the chart carries: what helm renders of them, and what they do."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.chart import CHART, pod_specs, rendered

FILES = CHART / "files"


@pytest.mark.parametrize(
    ("pod", "file"),
    [
        ("CronJob rel-anypod-etcd-snapshot", "forget_snapshots.py"),
        ("Pod rel-anypod-test", "first_call.py"),
    ],
)
def test_programs_come_through_helm_as_they_are(pod: str, file: str) -> None:
    (container,) = pod_specs(rendered())[pod]["containers"]
    assert container["command"] == ["python", "-P", "-c"]
    assert container["args"][0].strip() == (FILES / file).read_text().strip()


def snapshots(directory: Path, *names: str) -> None:
    """In this order, a second apart."""
    for age, name in enumerate(reversed(names)):
        file = directory / name
        file.touch()
        os.utime(file, (1_000_000 - age, 1_000_000 - age))


def forget(directory: Path, keep: int) -> str:
    script = (FILES / "forget_snapshots.py").read_text()
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, str(directory), str(keep)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_the_newest_snapshots_are_kept(tmp_path: Path) -> None:
    snapshots(tmp_path, "z.db", "y.db.part", "a.db", "lost+found", "m.db", "n.db.part")
    told = forget(tmp_path, 2)
    assert "the newest is m.db" in told
    assert {file.name for file in tmp_path.iterdir()} == {
        "a.db",
        "m.db",
        "lost+found",
        "n.db.part",
    }


def test_fewer_snapshots_than_are_kept_all_stay(tmp_path: Path) -> None:
    snapshots(tmp_path, "a.db", "b.db")
    assert "kept 2" in forget(tmp_path, 28)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "text", ["a-key-that-opens\n", '{"key": "a-key-that-opens", "verbs": ["run"]}\n']
)
def test_a_key_may_be_bare_or_within_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    read_key = runpy.run_path(str(FILES / "first_call.py"))["read_key"]
    assert read_key(tmp_path / "key") == "a-key-that-opens"
