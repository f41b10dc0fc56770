"""Directories of executors: each its own, gone with the worker, and with one that was killed."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from anypod_worker import scratch
from anypod_worker.scratch import Scratch


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    for folder, _, _ in os.walk(tmp_path):
        Path(folder).chmod(0o700)


def test_each_executor_has_its_own_and_all_go(temporary: Path) -> None:
    kept = Scratch()
    one, two = kept.for_executor(1), kept.for_executor(2)
    (one / "file").write_text("x")
    kept.remove(one)
    assert not one.exists()
    assert two.is_dir()
    kept.close()
    assert list(temporary.iterdir()) == []


def test_what_a_program_has_locked_goes_too() -> None:
    kept = Scratch()
    directory = kept.for_executor(1)
    (directory / "a" / "b").mkdir(parents=True)
    (directory / "a" / "b" / "file").write_text("x")
    (directory / "a" / "b").chmod(0)
    (directory / "a").chmod(0)
    kept.remove(directory)
    assert not directory.exists()
    kept.close()


def test_links_of_a_program_are_not_followed(temporary: Path) -> None:
    outside = temporary / "outside"
    outside.mkdir(mode=0o755)
    (outside / "file").write_text("x")
    kept = Scratch()
    directory = kept.for_executor(1)
    (directory / "link").symlink_to(outside)
    (directory / "locked").mkdir(mode=0)
    kept.remove(directory)
    assert (outside / "file").exists()
    assert outside.stat().st_mode & 0o777 == 0o755
    kept.close()


def test_it_is_made_anew_when_something_has_tidied_it_away() -> None:
    kept = Scratch()
    kept.remove(kept.root)
    assert kept.for_executor(1).is_dir()
    kept.close()


def test_what_cannot_be_made_anew_is_tried_again_and_nothing_else_is_closed(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Scratch()
    kept.remove(kept.root)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "away"))
    with pytest.raises(FileNotFoundError):
        kept.for_executor(1)
    with contextlib.ExitStack() as files:
        others = [files.enter_context((temporary / name).open("w")) for name in "ab"]
        with pytest.raises(FileNotFoundError):
            kept.for_executor(2)
        for other in others:
            os.fstat(other.fileno())
    (temporary / "away").mkdir()
    assert kept.for_executor(3).is_dir()
    kept.close()


def test_what_is_made_by_half_does_not_stay(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (temporary / "one").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "one"))
    kept = Scratch()
    kept.remove(temporary / "one")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with pytest.raises(FileNotFoundError):
        kept.for_executor(1)
    assert list(temporary.iterdir()) == []
    kept.close()


def test_what_a_killed_worker_left_is_removed_and_what_lives_stays() -> None:
    living = Scratch()
    source = (
        "import os\nfrom anypod_worker.scratch import Scratch\n"
        "print(Scratch().root, flush=True)\nos.kill(os.getpid(), 9)"
    )
    told = subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": tempfile.gettempdir()},
    )
    dead = Path(told.stdout.strip())
    assert dead.is_dir()
    scratch.remove_abandoned()
    assert not dead.exists()
    assert living.root.is_dir()
    living.close()


def test_what_is_half_removed_is_removed_by_the_next() -> None:
    half = Scratch()
    half.for_executor(1)
    (half.root / ".lock").unlink()
    scratch.remove_abandoned()
    assert not half.root.exists()


def test_one_that_was_made_anew_is_not_taken_for_abandoned() -> None:
    kept = Scratch()
    kept.remove(kept.root)
    directory = kept.for_executor(1)
    scratch.remove_abandoned()
    assert directory.is_dir()
    kept.close()


def test_many_that_start_together_do_not_take_each_other_for_dead() -> None:
    source = (
        "import sys\nfrom anypod_worker import scratch\n"
        "for _ in range(200):\n"
        "    made = scratch.Scratch()\n"
        "    scratch.remove_abandoned()\n"
        "    assert made.for_executor(1).parent.joinpath('.lock').exists()\n"
        "    made.close()\n"
    )
    environment = {**os.environ, "TMPDIR": tempfile.gettempdir()}
    running = [subprocess.Popen([sys.executable, "-c", source], env=environment) for _ in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
