"""What was made is kept, whole or not at all."""

import os
from pathlib import Path

import pytest
from tests.cluster.images import cache


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLUSTER_CACHE", str(tmp_path))
    return cache.folder()


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


def test_the_oldest_by_use_are_forgotten_and_other_kinds_are_not(folder: Path) -> None:
    def make(path: Path) -> None:
        path.touch()

    other = cache.kept("thing-too", cache.key("1"), make)
    os.utime(other, (0, 0))
    paths = [cache.kept("thing", cache.key(str(n)), make) for n in range(cache.KEPT)]
    for age, path in enumerate(paths):
        os.utime(path, (1000 - age, 1000 - age))
    cache.kept("thing", cache.key("one more"), make)
    assert [path.exists() for path in paths] == [True] * (cache.KEPT - 1) + [False]
    assert other.exists()
