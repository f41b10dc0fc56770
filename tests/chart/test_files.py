"""The programs that the chart carries: what helm renders of them, and what they do."""

import os
import runpy
import shutil
import subprocess
import sys
import time
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


def test_old_snapshots_are_forgotten_before_one_is_taken_and_after() -> None:
    pod = pod_specs(rendered())["CronJob rel-anypod-etcd-snapshot"]
    before, save = pod["initContainers"]
    (after,) = pod["containers"]
    assert save["command"][-2:] == ["save", "/snapshots/$(POD_NAME).db"]
    assert {**before, "name": "forget"} == after
    assert after["args"][1:] == ["/snapshots", "28"]


def snapshots(directory: Path, *names: str, size: int = 0, age: int = 0) -> None:
    """In this order, a second apart; the last as old as is said."""
    for seconds, name in enumerate(reversed(names), age):
        file = directory / name
        file.write_bytes(bytes(size))
        written = time.time() - seconds
        os.utime(file, (written, written))


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


def test_before_the_first_snapshot_there_is_nothing_to_forget(tmp_path: Path) -> None:
    assert "no snapshot yet" in forget(tmp_path, 28)


def test_what_no_save_can_be_writing_any_more_goes_though_it_is_the_newest(tmp_path: Path) -> None:
    snapshots(tmp_path, "a.db", "b.db.part", age=1900)
    forget(tmp_path, 28)
    assert [file.name for file in tmp_path.iterdir()] == ["a.db"]


IN_A_NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")
ON_A_SMALL_VOLUME = """
mount -t tmpfs -o size=10m tmpfs "$2"
cp -a "$1/." "$2"
"$3" -P -c "$4" "$2" 28 >&2
ls "$2"
"""


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    asked = [*IN_A_NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(asked, capture_output=True, timeout=30, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="no user namespaces here")
@pytest.mark.parametrize(
    ("sizes", "left"),
    [
        ({"a.db": 2, "b.db": 2, "c.db": 2, "d.db": 2, "e.db": 2}, {"c.db", "d.db", "e.db"}),
        ({"a.db": 1, "b.db": 1, "c.db": 8}, {"c.db"}),
        ({"a.db": 2, "b.db": 2, "c.db": 3}, {"b.db", "c.db"}),
        ({"a.db": 2, "b.db": 3}, {"a.db", "b.db"}),
        ({"a.db": 2, "b.db.part": 4, "c.db": 3}, {"a.db", "c.db"}),
    ],
    ids=["full", "larger than there is room", "nearly full", "room", "full of what is broken"],
)
def test_the_oldest_make_room_for_half_as_much_again_as_the_newest(
    tmp_path: Path, sizes: dict[str, int], left: set[str]
) -> None:
    """In MiB, on a volume of 10."""
    files, volume = tmp_path / "files", tmp_path / "volume"
    files.mkdir()
    volume.mkdir()
    for age, (name, size) in enumerate(reversed(sizes.items())):
        snapshots(files, name, size=size << 20, age=age)
    script = (FILES / "forget_snapshots.py").read_text()
    arguments = [str(files), str(volume), sys.executable, script]
    done = subprocess.run(
        [*IN_A_NAMESPACE, "sh", "-ec", ON_A_SMALL_VOLUME, "sh", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert set(done.stdout.split()) == left


@pytest.mark.parametrize(
    "text", ["a-key-that-opens\n", '{"key": "a-key-that-opens", "verbs": ["run"]}\n']
)
def test_a_key_may_be_bare_or_within_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    read_key = runpy.run_path(str(FILES / "first_call.py"))["read_key"]
    assert read_key(tmp_path / "key") == "a-key-that-opens"
