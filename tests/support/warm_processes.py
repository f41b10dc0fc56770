"""Gateways and workers for tests, each a process of its own, but forked from a warm one.

To import what they consist of is most of what their start costs, and tests start a thousand. That
they also start from nothing, others show: tests of their processes, of images, and of local mode.
"""

import asyncio
import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_MAX_BYTES = 128 * 1024
_LIMIT = 2**24
_SECONDS = 30.0
_HELD_SECONDS = 1.0
"""A dead worker's executors hold its stderr until they are gone, too."""

Main = Callable[[list[str], int | None], int]
"""Of arguments and the number of a socket that listens; the exit status."""


class _Lines(asyncio.StreamReaderProtocol):
    """What comes out of a pipe."""

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader(_LIMIT)
        self.ended = asyncio.Event()
        super().__init__(self.reader)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.ended.set()


@dataclass
class _Pipe:
    lines: _Lines
    transport: asyncio.ReadTransport

    @classmethod
    async def of(cls, number: int) -> "_Pipe":
        transport, lines = await asyncio.get_running_loop().connect_read_pipe(
            _Lines, os.fdopen(number, "rb", buffering=0)
        )
        return cls(lines, transport)

    async def close(self, seconds: float) -> None:
        """What has been written there may be read first, if nobody holds the other end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.lines.ended.wait()
        self.transport.close()


class Process:
    """Like ``asyncio.subprocess.Process``. It is the warm process's child, and dies with that."""

    def __init__(self, told: _Pipe, stderr: _Pipe | None) -> None:
        self.stderr = None if stderr is None else stderr.lines.reader
        self.pid = 0
        self.returncode: int | None = None
        self._pipes = [told] if stderr is None else [stderr, told]
        self._told = told.lines.reader

    async def begin(self) -> None:
        self.pid = int(await self._told.readline())
        self._ending = asyncio.create_task(self._end())

    async def _end(self) -> int:
        line = await self._told.readline()
        for pipe in self._pipes:
            await pipe.close(_HELD_SECONDS)
        # Without a line, the warm process has died, and this one with it.
        self.returncode = int(line) if line else -signal.SIGKILL
        return self.returncode

    async def wait(self) -> int:
        return await asyncio.shield(self._ending)

    def send_signal(self, number: int) -> None:
        if self.returncode is not None:
            raise ProcessLookupError(self.pid)
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


Started = asyncio.subprocess.Process | Process


def fork_server(serve: Callable[[int], None], end: socket.socket) -> subprocess.Popen[bytes]:
    """Runs a function of this project's tests with the number of its end of a socket. Its main
    module is of no package, as of a script, and its directory is on no path."""
    number = end.fileno()
    code = f"from {serve.__module__} import {serve.__name__} as serve; serve({number})"
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        pass_fds=[number],
        start_new_session=True,
    )


class Warm:
    """A process that forks others, as long as this one lives."""

    def __init__(self, serve: Callable[[int], None]) -> None:
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = fork_server(serve, theirs)
        atexit.register(self._close)

    def _close(self) -> None:
        """It ends when nobody can ask any more."""
        self._connection.close()
        self._process.wait(_SECONDS)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def start(
        self, *arguments: str, listener: socket.socket | None = None, log: int | None = None
    ) -> Process:
        """``log`` is the number of a file for its stderr, which else is a stream of the process."""
        told, tell = os.pipe()
        ends, stderr = [tell], None
        if log is None:
            read, log = os.pipe()
            ends.append(log)
            stderr = await _Pipe.of(read)
        request = json.dumps({"arguments": arguments, "environment": dict(os.environ)}).encode()
        files = [tell, log, *([listener.fileno()] if listener is not None else [])]
        try:
            socket.send_fds(self._connection, [request], files)
        finally:
            for each in ends:
                os.close(each)
        process = Process(await _Pipe.of(told), stderr)
        await process.begin()
        return process


IMPATIENT = "impatient"
"""Before a gateway's arguments: it is tests/support/impatient_gateway.py."""


@cache
def gateways() -> Warm:
    """Each takes arguments of ``python -m anypod_gateway``, and listens on the socket."""
    return Warm(serve_gateways)


@cache
def workers() -> Warm:
    """Each takes a file with its configuration and one with the link's secret."""
    return Warm(serve_workers)


# the warm process


def serve_gateways(number: int) -> None:
    _serve(number, _gateway, "anypod_gateway.process", "anypod.store.etcd", "anypod.store.sqlite")


def serve_workers(number: int) -> None:
    _serve(number, _worker, "anypod_worker.executor", "anypod_worker.supervisor")


def _serve(number: int, main: Main, *modules: str) -> None:
    """Until nobody asks any more."""
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    connection = socket.socket(fileno=number)
    waiting = selectors.DefaultSelector()
    waiting.register(connection, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.data is not None:
                waiting.unregister(key.fd)
                os.close(key.fd)
                _reap(*key.data)
                continue
            packet, files, _, _ = socket.recv_fds(connection, _MAX_BYTES, 3)
            if not packet:
                return
            pid = _fork(json.loads(packet), files, main)
            waiting.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, files[0]))


def _fork(told: dict[str, Any], files: Sequence[int], main: Main) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(told, files, main, parent)
    tell, *others = files
    for each in others:
        os.close(each)
    _say(tell, pid)
    return pid


def _reap(pid: int, tell: int) -> None:
    _, status = os.waitpid(pid, 0)
    _say(tell, os.waitstatus_to_exitcode(status))
    os.close(tell)


def _say(tell: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # the test has ended
        os.write(tell, b"%d\n" % number)


def _become(told: dict[str, Any], files: Sequence[int], main: Main, parent: int) -> None:
    """Never returns."""
    code = 1
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() == parent:
            listener = _have_only(files)
            os.environ.clear()
            os.environ.update(told["environment"])
            code = main(told["arguments"], listener)
    except SystemExit as stop:
        sys.stderr.write(f"{stop.code}\n")
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _have_only(files: Sequence[int]) -> int | None:
    """Of the files of the warm process; the listener's number."""
    _, stderr, *listeners = files
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(stderr, 2)
    for each in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if each not in {0, 1, 2, *listeners}:
            with contextlib.suppress(OSError):  # that of the listing is closed by now
                os.close(each)
    return listeners[0] if listeners else None


def _gateway(arguments: list[str], listener: int | None) -> int:
    from tests.support import impatient_gateway

    from anypod_gateway import process

    gc.disable()
    impatient = arguments[:1] == [IMPATIENT]
    sys.argv = ["anypod_gateway", "--listen-fd", str(listener), *arguments[impatient:]]
    return impatient_gateway.main() if impatient else process.main()


def _worker(arguments: list[str], _listener: int | None) -> int:
    import msgspec

    from anypod.wire.config import WorkerConfig
    from anypod_worker import boot, environment

    config = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=WorkerConfig)
    environment.enter(config.env)
    return boot.run(lambda: boot.Told(config, Path(arguments[1]).read_bytes()), inherited=[])
