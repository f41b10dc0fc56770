"""What was made is kept, whole or not at all."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.images import cache

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("CLUSTER_CACHE", str(tmp_path))
    yield cache.folder()
    cache.let_go()


def test_a_key_tells_where_its_parts_end() -> None:
    assert cache.key("ab", "c") != cache.key("a", "bc")
    assert cache.key("ab", b"c") == cache.key("ab", "c")


def test_a_file_is_made_once() -> None:
    made = []

    def make(path: Path) -> None:
        made.append(path)
        path.write_text("content")

    first = cache.kept("thing", cache.key("1"), make)
    assert cache.kept("thing", cache.key("1"), make) == first
    assert first.read_text() == "content"
    assert len(made) == 1


def test_what_failed_leaves_nothing_behind(folder: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        cache.kept("thing", cache.key("1"), fail)
    assert [file for file in folder.iterdir() if file.suffix != ".lock"] == []


def make(path: Path) -> None:
    path.touch()


def grow_old(*paths: Path) -> None:
    for path in paths:
        os.utime(path, (0, 0))


def kept_by_another_process(key: str) -> Path:
    """As by a run that has ended: nothing holds it any more."""
    code = (
        "import sys; from pathlib import Path; from tests.cluster.images import cache;"
        "print(cache.kept('thing', sys.argv[1], Path.touch))"
    )
    call = [sys.executable, "-c", code, cache.key(key)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return Path(done.stdout.strip())


def test_what_nobody_has_used_for_long_is_forgotten_whatever_it_is(folder: Path) -> None:
    old = kept_by_another_process("old")
    fresh = kept_by_another_process("fresh")
    left = [folder / "thing-of-a-killed-maker.draft", folder / "tmpleft"]
    for path in left:
        path.mkdir()
    grow_old(old, *left)
    cache.kept("another", cache.key("1"), make)
    assert fresh.exists()
    assert not [path for path in (old, *left) if path.exists()]


def test_what_is_used_is_young_again() -> None:
    path = cache.kept("thing", cache.key("1"), make)
    grow_old(path)
    cache.kept("thing", cache.key("1"), make)
    assert path.stat().st_mtime > time.time() - 3600


def test_what_a_running_process_was_given_is_never_forgotten() -> None:
    path = cache.kept("thing", cache.key("1"), make)
    grow_old(path)
    done = kept_by_another_process("2")
    assert done.exists()
    assert path.exists()


def test_what_somebody_has_removed_is_made_again() -> None:
    path = cache.kept("thing", cache.key("1"), make)
    path.unlink()
    assert cache.kept("thing", cache.key("1"), make).exists()


def test_a_folder_is_kept_and_forgotten_as_a_file_is() -> None:
    path = cache.kept("folder", cache.key("1"), Path.mkdir, "")
    (path / "file").touch()
    assert cache.newest("folder", "") == path
    assert cache.newest("nothing", "") is None
    cache.let_go()
    grow_old(path)
    cache.kept("thing", cache.key("1"), make)
    assert not path.exists()
