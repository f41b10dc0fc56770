"""What an executor said before it ended is heard, whatever was being said to it then."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import uvloop

from anypod.wire.messages import Code, Usage
from anypod_worker import frames
from anypod_worker.ends import Ends
from anypod_worker.executors import LAST_WORDS, Death, Executor


class Owner:
    """Of the executor, and of what runs in it."""

    code: Code | None = None

    def __init__(self) -> None:
        self.happened: list[object] = []
        self.news = asyncio.Event()

    def _note(self, what: object) -> None:
        self.happened.append(what)
        self.news.set()

    async def until(self, what: object) -> None:
        async with asyncio.timeout(30):
            while what not in self.happened:
                self.news.clear()
                await self.news.wait()

    def warm(self, executor: Executor) -> None:
        self._note("warm")

    def free(self, executor: Executor) -> None:
        self._note("free")

    def gone(self, executor: Executor, death: Death) -> None:
        self._note(death)

    def begun(self) -> None: ...
    def chunk(self, data: bytes) -> None: ...
    def progress(self, said: frames.Progress) -> None: ...
    def printed(self, stream: object, data: bytes) -> None: ...
    def kept(self, frame: frames.Kept) -> None: ...
    def given_up(self) -> None: ...

    def used(self, usage: Usage) -> None:
        self._note(usage)

    def done(self, frame: frames.Done | frames.Checked) -> None:
        self._note(frame.id)

    def lost(self, death: Death) -> None:
        self._note(("lost", death.job_unread))
        if death.by_another:
            self._note("by another")


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner


@contextmanager
def ends() -> Iterator[tuple[Ends, socket.socket]]:
    """The supervisor's, and the executor's of the socket."""
    ours, theirs = socket.socketpair()
    pipes = [os.pipe(), os.pipe()]
    with ours, theirs:
        yield Ends(ours, *(read for read, _ in pipes)), theirs
    for _, write in pipes:
        os.close(write)


@asynccontextmanager
async def warm(directory: Path) -> AsyncIterator[tuple[Owner, Executor, socket.socket]]:
    """With the executor's end of its socket."""
    owner = Owner()
    with ends() as (ours, theirs):
        executor = Executor(
            1, directory, ours, owner, max_frame_bytes=2**20, memory_was_short=lambda: False
        )
        await executor.connect()
        theirs.sendall(frames.encode(frames.Warm(signals_confined=True)))
        await owner.until("warm")
        yield owner, executor, theirs


def run_of(execution: str) -> frames.Run:
    return frames.Run(execution, "revision", b"{}")


UNFIT = frames.encode(frames.Unfit("unclean"))


def test_of_an_answer_whose_executor_was_just_spoken_to(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        async with warm(tmp_path) as (owner, executor, theirs):
            executor.run(owner, run_of("a"))
            await asyncio.sleep(0)  # until it is sent
            theirs.recv(2**16)
            theirs.sendall(frames.encode(frames.Done("a", 0.0, b"1")) + UNFIT)
            theirs.close()
            executor.ping()
            await owner.until("a")
            executor.exited(0)
            await owner.until(Death("unclean", exit_code=0))

    runner.run(main())


def test_of_one_of_several_whose_thread_asks_an_lm_after_its_end(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    first, late, last = (Usage("fast", calls) for calls in (1, 2, 3))

    async def main() -> None:
        async with warm(tmp_path) as (owner, executor, theirs):
            for id_ in ("a", "b"):
                executor.run_beside(owner, run_of(id_))
            said = [
                frames.Used("a", first),
                frames.Done("a", 0.0, b"1"),
                frames.Used("a", late),
                frames.Used("b", last),
                frames.Done("b", 0.0, b"1"),
            ]
            theirs.sendall(b"".join(map(frames.encode, said)))
            theirs.close()
            executor.exited(0)
            await owner.until(Death(exit_code=0))
            assert owner.happened[:-1] == ["warm", first, "a", last, "b", "free"]

    runner.run(main())


def test_of_its_reason_to_end_when_the_next_execution_was_just_sent(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        async with warm(tmp_path) as (owner, executor, theirs):
            theirs.sendall(UNFIT)
            theirs.close()
            executor.run(owner, run_of("b"))
            executor.exited(0)
            await owner.until(Death("unclean", exit_code=0, job_unread=True))
            assert ("lost", True) in owner.happened

    runner.run(main())


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside others"])
def test_of_an_end_that_comes_again_when_another_runs(
    runner: asyncio.Runner, tmp_path: Path, beside: bool
) -> None:
    """The first may have been a program's, by accident: what runs now has done nothing."""
    ended = frames.encode(frames.Done("a", 0.0, b"1"))

    async def main() -> None:
        async with warm(tmp_path) as (owner, executor, theirs):
            run = executor.run_beside if beside else executor.run
            run(owner, run_of("a"))
            theirs.sendall(ended)
            await owner.until("a")
            run(owner, run_of("b"))
            begun = frames.encode(frames.Begun("b"))
            theirs.sendall(begun + ended if beside else ended)
            while executor.takes_more:
                await asyncio.sleep(0.001)
            executor.exited(signal.SIGKILL)
            await owner.until(("lost", False))
            assert "by another" in owner.happened

    runner.run(main())


@pytest.mark.parametrize(
    ("status", "death"),
    [
        (4 << 8, Death(exit_code=4)),
        (signal.SIGSEGV, Death(signal="SIGSEGV")),
        (signal.SIGKILL, Death("closed", signal="SIGKILL")),
    ],
    ids=["exited", "crashed", "killed"],
)
def test_of_one_that_is_slow_to_end_by_itself(
    runner: asyncio.Runner, tmp_path: Path, status: int, death: Death
) -> None:
    """Its socket goes first; a busy machine may take its time for the rest."""

    async def main() -> None:
        async with warm(tmp_path) as (owner, executor, theirs):
            executor.run(owner, run_of("a"))
            await asyncio.sleep(0)
            theirs.recv(2**16)
            theirs.close()
            await asyncio.sleep(2 * LAST_WORDS)
            executor.exited(status)
            await owner.until(death)

    runner.run(main())
