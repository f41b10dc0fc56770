"""The pools file says what is so, and why what is not ready is not."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from anypod.local.board import Board
from anypod.local.console import Level
from anypod.local.manifest import pools
from anypod.local.settings import Settings
from anypod.resources import pools_file
from anypod.resources.pools_file import PoolEntry


async def test_the_file_follows_what_changes(tmp_path: Path) -> None:
    path = tmp_path / "pools.json"
    board = Board(path, pools(Settings(workers=2)))
    writing = asyncio.create_task(board.keep_written(_nobody))
    board.changed()
    empty = await _written(path, lambda entry: True)
    assert (empty.workers, empty.message) == ([], "w1, w2: starting")
    first, second = board.pools[0].workers
    first.port, first.ready = 7001, True
    board.changed()
    second.port, second.message = 7002, "preload of x failed"
    board.changed()
    entry = await _written(path, lambda entry: len(entry.workers) == 2)
    assert [(w.name, w.port, w.ready) for w in entry.workers] == [
        ("w1", 7001, True),
        ("w2", 7002, False),
    ]
    assert entry.message == "w2: preload of x failed"
    writing.cancel()


async def test_a_file_that_cannot_be_written_is_said_once_and_written_when_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anypod.local.board.AGAIN_SECONDS", 0.01)
    path = tmp_path / "run" / "pools.json"
    board = Board(path, pools(Settings(workers=1)))
    said: list[tuple[str, Level]] = []
    writing = asyncio.create_task(board.keep_written(lambda *what: said.append(what)))
    board.changed()
    await asyncio.sleep(0.1)
    assert said == [(f"{path} cannot be written: No such file or directory; trying on", "error")]
    board.pools[0].workers[0].port = 7001
    await asyncio.to_thread(path.parent.mkdir)
    await _written(path, lambda entry: len(entry.workers) == 1)
    await asyncio.sleep(0.05)
    assert said[1:] == [(f"{path} is written again", "info")]
    assert not writing.done()
    writing.cancel()


def _nobody(text: str, level: Level) -> None:
    raise AssertionError(text)


async def _written(path: Path, wanted: Callable[[PoolEntry], bool]) -> PoolEntry:
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(FileNotFoundError):
                content = await asyncio.to_thread(pools_file.read, path)
                if wanted(content.pools[0]):
                    return content.pools[0]
            await asyncio.sleep(0.01)


async def test_many_workers_with_one_reason_are_counted(tmp_path: Path) -> None:
    board = Board(tmp_path / "pools.json", pools(Settings(workers=8)))
    for worker in board.pools[0].workers:
        worker.message = "preload of x failed"
    assert board.pools[0].message() == "w1 and 7 more: preload of x failed"
    assert board.pools[0].troubles() == {}
    board.pools[0].workers[2].trouble, board.pools[0].workers[2].again = True, "trying again in 4 s"
    assert board.pools[0].troubles() == {"preload of x failed": ["w3"]}
    assert board.pools[0].message().endswith("; w3: preload of x failed; trying again in 4 s")
