"""The log that chaos on a cluster holds answers against: a witness that saw nothing would prove
nothing."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable

import pytest_asyncio
from tests.support import witness
from tests.support.ports import free_port
from tests.support.side_effects import TO_A_WITNESS, SideEffects, read

PATIENCE = 60.0
RUN = f"{TO_A_WITNESS}\nimport sys\nprint(main(sys.argv[1], 'a', 0, float(sys.argv[2])))\n"


class Watched:
    """A witness, and what it has told so far."""

    def __init__(self, port: int, process: asyncio.subprocess.Process) -> None:
        self.log = f"127.0.0.1:{port}"
        self.process = process
        self._lines: list[str] = []

    async def until(self, holds: Callable[[SideEffects], bool]) -> SideEffects:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while not holds(found := read(self._lines)):
                self._lines.append((await self.process.stdout.readline()).decode().strip())
        return found


@pytest_asyncio.fixture
async def watched() -> AsyncIterator[Watched]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        witness.__file__,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PORT": str(port)},
    )
    yield Watched(port, process)
    process.terminate()
    await process.communicate()
    assert process.returncode == 0


@contextlib.asynccontextmanager
async def running(watched: Watched, seconds: float) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUN, watched.log, str(seconds)), stdout=asyncio.subprocess.PIPE
    )
    yield process
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.communicate()


async def test_a_run_has_begun_and_ended_when_it_answers(watched: Watched) -> None:
    async with running(watched, 0) as process:
        told = (await process.communicate())[0].decode().strip()
    found = await watched.until(lambda found: bool(found.ended))
    assert (found.began, found.ended, found.beside) == ({"a": [told]}, {"a": [told]}, [])


async def test_two_runs_at_once_are_told(watched: Watched) -> None:
    async with running(watched, PATIENCE):
        await watched.until(lambda found: bool(found.began))
        async with running(watched, 0):
            found = await watched.until(lambda found: len(found.began["a"]) == 2)
    assert found.beside == ["a"]


async def test_a_run_after_one_that_was_killed_is_beside_nobody(watched: Watched) -> None:
    async with running(watched, PATIENCE):
        await watched.until(lambda found: bool(found.began))
    async with running(watched, 0):
        found = await watched.until(lambda found: bool(found.ended))
    assert len(found.began["a"]) == 2
    assert found.beside == []
