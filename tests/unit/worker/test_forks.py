"""Forks that fail, as often as they may, leave nothing open behind."""

import asyncio
import contextlib
import errno
import os
import resource
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from anypod.resources.worker_config import worker_config
from anypod.resources.workerpool import API_VERSION, KIND, WorkerPool
from anypod_worker.executors import Death, Executor
from anypod_worker.forks import Forks

CONFIG = worker_config(
    WorkerPool.model_validate({"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "p"}}),
    "w1",
    port=0,
)


class Owner:
    def __init__(self) -> None:
        self.deaths: asyncio.Queue[Death] = asyncio.Queue()

    def warm(self, executor: Executor) -> None: ...
    def free(self, executor: Executor) -> None: ...

    def gone(self, executor: Executor, death: Death) -> None:
        self.deaths.put_nowait(death)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner


@contextlib.asynccontextmanager
async def forks() -> AsyncIterator[tuple[Forks, socket.socket]]:
    """With the zygote's end of its socket. There is no zygote: none of these forks gets to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        made = Forks(CONFIG, os.getpid(), ours, lambda: None)
        made.ready.set()
        yield made, theirs


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@contextlib.contextmanager
def only_so_many_files(spare: int) -> Iterator[None]:
    """``spare`` more than are open."""
    free = os.open("/dev/null", os.O_RDONLY)
    os.close(free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def no_directory(number: int) -> Path:
    raise OSError(errno.ENOSPC, "no space left on device")


def test_when_no_directory_can_be_made(runner: asyncio.Runner) -> None:
    async def main() -> None:
        async with forks() as (made, _):
            before = open_files()
            for _ in range(3):
                with pytest.raises(OSError, match="no space left"):
                    await made.fork(no_directory, Owner())
            assert open_files() == before

    runner.run(main())


@pytest.mark.parametrize("spare", range(6))
def test_when_files_run_out(runner: asyncio.Runner, tmp_path: Path, spare: int) -> None:
    asked: list[int] = []

    def directory(number: int) -> Path:
        asked.append(number)
        return tmp_path

    async def main() -> None:
        async with forks() as (made, _):
            before = open_files()
            with only_so_many_files(spare), pytest.raises(OSError, match="Too many open files"):
                await made.fork(directory, Owner())
            assert open_files() == before
            assert asked == []  # else it would have to be removed

    runner.run(main())


def test_when_the_zygote_is_away(runner: asyncio.Runner, tmp_path: Path) -> None:
    async def fails(made: Forks) -> int:
        owner = Owner()
        await made.fork(lambda _: tmp_path, owner)
        assert await owner.deaths.get() == Death(reason="not forked")
        await asyncio.sleep(0.02)  # a transport closes in the loop's next turns
        return open_files()

    async def main() -> None:
        async with forks() as (made, zygote):
            zygote.close()
            first = await fails(made)  # a loop opens what it needs itself when it is first used
            assert [await fails(made) for _ in range(2)] == [first, first]

    runner.run(main())


def test_when_the_loop_cannot_watch_its_pipes(tmp_path: Path) -> None:
    class Full(asyncio.SelectorEventLoop):
        def add_reader(self, fd: object, callback: Callable[..., object], *args: object) -> None:
            raise OSError(errno.ENOSPC, "no more descriptors may be watched")

    async def main() -> None:
        async with forks() as (made, _):
            before, owner = open_files(), Owner()
            await made.fork(lambda _: tmp_path, owner)
            assert await owner.deaths.get() == Death(reason="not forked")
            assert open_files() == before

    with asyncio.Runner(loop_factory=Full) as runner:
        runner.run(main())


@pytest.mark.parametrize("spare", range(2))
def test_when_files_run_out_as_a_zygote_is_to_be_started_again(
    runner: asyncio.Runner, spare: int
) -> None:
    async def main() -> None:
        async with forks() as (made, _):
            before = open_files()
            with only_so_many_files(spare):
                made._start_again()
            assert "cannot be started: [Errno 24]" in made.message
            assert open_files() == before
            async with asyncio.timeout(30):
                while made.pid == os.getpid():
                    await asyncio.sleep(0.01)
            made.stop()
            os.waitpid(made.pid, 0)
            asyncio.get_running_loop().remove_reader(made._control)
            made._control.close()

    runner.run(main())
