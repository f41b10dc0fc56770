"""Who waits for workers of a stack that do not come is told why."""

import asyncio
import signal
from pathlib import Path

import pytest
from tests.support import stack
from tests.support.stack import Stack


async def test_what_keeps_a_worker_from_starting(tmp_path: Path) -> None:
    (tmp_path / "w1").mkdir()  # where the first worker was to be
    async with Stack(tmp_path, store="sqlite", workers=1, executors=1, gateways=1) as running:
        with pytest.raises(FileExistsError, match="w1"):
            await running.ready()
        while running._cannot_start is not None:
            await asyncio.sleep(0.01)
        await running.ready()


async def test_what_keeps_all_of_them(tmp_path: Path) -> None:
    async with Stack(tmp_path, store="sqlite", workers=1, executors=1, gateways=1) as running:
        running._pools_file.unlink()
        running._pools_file.mkdir()
        with pytest.raises(IsADirectoryError):
            await running.ready()


async def test_what_the_last_one_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = "tests.support.slow_to_import"
    async with Stack(
        tmp_path, store="sqlite", workers=1, executors=1, gateways=1, preload=slow
    ) as running:
        await running.ready()
        (worker,) = running._workers.values()
        worker.process.send_signal(signal.SIGTERM)
        while running._ready:
            await asyncio.sleep(0.01)
        monkeypatch.setattr(stack, "PATIENCE", 0.2)
        with pytest.raises(AssertionError, match=r"(?s)w1 ended:.*worker stopped"):
            await running.ready()
