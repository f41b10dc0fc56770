"""The supervisor's side of the zygote: asks it for executors, and starts it again when it dies.

A preload that fails is tried a few times more, for what it needs may be on its way. Then the worker
gives up, so that whoever runs it sees a process that fails, with the reason in its last line.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from anypod.wire.config import WorkerConfig
from anypod_worker import ends, environment, frames, logs, processes, zygote
from anypod_worker.executors import Executor, Owner
from anypod_worker.family import Family

PRELOAD_RETRIES = (1.0, 2.0, 4.0)
_RESTART_DELAY = 0.1
_MAX_RESTART_DELAY = 5.0
_FORK_SECONDS = 10.0
_decode = msgspec.msgpack.Decoder(zygote.FromZygote).decode


class Forks:
    """``ready`` when executors can be made; ``failed`` when that has been given up."""

    def __init__(
        self,
        config: WorkerConfig,
        pid: int,
        control: socket.socket,
        on_change: Callable[[], None],
    ) -> None:
        self.config = config
        self.pid = pid
        self.ready = asyncio.Event()
        self.failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.message = "preloading"
        self.preload_seconds = 0.0
        self.memory_was_short: Callable[[], bool] = lambda: False
        self._loop = asyncio.get_running_loop()
        self._family = Family(self._loop, self._read_control, lambda: bool(self._pending))
        self._control = control
        self._on_change = on_change
        self._pending: dict[int, Executor] = {}
        self._numbers = 0
        self._failures = 0
        self._has_failed = False
        """This zygote has already said why it cannot preload."""
        self._delay = _RESTART_DELAY
        self._preload_deadline: asyncio.TimerHandle | None = None
        self._stopping = False

    @property
    def family(self) -> Family:
        return self._family

    def start(self) -> None:
        self._family.watch()
        self._attach()
        self._family.reap()

    def _attach(self) -> None:
        self._control.setblocking(False)
        self._loop.add_reader(self._control, self._read_control)
        self._preload_deadline = self._loop.call_later(
            self.config.preload_timeout_seconds, self._preload_too_slow
        )
        self._family.expect(self.pid, self._zygote_exited)

    # executors

    async def fork(self, directory: Callable[[int], Path], owner: Owner) -> Executor:
        """An executor that tells its owner when it is warm, or that it is gone. Raises OSError, and
        then holds nothing: a full disk may fail it for hours, again and again."""
        await self.ready.wait()
        self._numbers += 1
        number = self._numbers
        with ends.pairs() as (ours, theirs):
            try:
                place = directory(number)
            except OSError:
                ours.close()
                raise
            executor = Executor(
                number,
                place,
                ours,
                owner,
                max_frame_bytes=frames.max_frame_bytes(self.config.limits.output_bytes),
                memory_was_short=lambda: self.memory_was_short(),
            )
            try:
                await executor.connect()
                self._pending[number] = executor
                request = zygote.encode(zygote.Fork(number, str(place)))
                socket.send_fds(self._control, [request], theirs)
            except OSError:
                self._pending.pop(number, None)
                self._loop.call_soon(executor.never_was)
        self._loop.call_later(_FORK_SECONDS, self._fork_too_slow, executor)
        return executor

    def _fork_too_slow(self, executor: Executor) -> None:
        if executor.is_warm or executor.is_gone:
            return
        logs.event(logging.ERROR, "an executor did not start in time", executor=executor.number)
        if executor.pid:
            executor.kill("start")
        else:
            processes.send(self.pid, signal.SIGKILL)

    def _not_forked(self, number: int) -> None:
        executor = self._pending.pop(number, None)
        if executor is not None:
            self._loop.call_soon(executor.never_was)

    # what the zygote says

    def _read_control(self) -> None:
        while True:
            try:
                packet = self._control.recv(zygote.MAX_PACKET_BYTES)
            except (BlockingIOError, OSError):
                return
            if not packet:
                self._loop.remove_reader(self._control)
                return
            self._take(_decode(packet))

    def _take(self, message: zygote.FromZygote) -> None:
        if isinstance(message, zygote.Forked):
            executor = self._pending.pop(message.number, None)
            if executor is not None:
                self._family.expect(message.pid, executor.exited)
                executor.forked(message.pid)
        elif isinstance(message, zygote.ForkFailed):
            logs.event(logging.ERROR, "no executor could be forked", error=message.error)
            self._not_forked(message.number)
        elif isinstance(message, zygote.Preloaded):
            self._preloaded(message)
        else:
            self._preload_failed(f"preload of {message.module} failed: {message.error}")

    def _preloaded(self, message: zygote.Preloaded) -> None:
        for warning in message.warnings:
            logs.event(logging.WARNING, warning)
        self.preload_seconds = message.seconds
        self._failures = 0
        self._delay = _RESTART_DELAY
        self.message = ""
        self._cancel_preload_deadline()
        self.ready.set()
        self._on_change()

    def _preload_failed(self, why: str) -> None:
        self._failures += 1
        self._has_failed = True
        self.message = why
        logs.event(logging.ERROR, why, attempt=self._failures)
        if self._failures <= len(PRELOAD_RETRIES):
            self._delay = PRELOAD_RETRIES[self._failures - 1]
        elif not self.failed.done():
            self.failed.set_result(why)
        self._on_change()

    def _preload_too_slow(self) -> None:
        seconds = self.config.preload_timeout_seconds
        self._preload_failed(f"preload of {self._modules()} did not end within {seconds:g} s")
        processes.send(self.pid, signal.SIGKILL)

    def _modules(self) -> str:
        return ", ".join(self.config.preload) or "nothing"

    def _cancel_preload_deadline(self) -> None:
        if self._preload_deadline is not None:
            self._preload_deadline.cancel()

    # its end

    def _zygote_exited(self, status: int) -> None:
        self._read_control()
        self._cancel_preload_deadline()
        self._loop.remove_reader(self._control)
        self._control.close()
        was_ready = self.ready.is_set()
        self.ready.clear()
        for number in list(self._pending):
            self._not_forked(number)
        self._family.sweep_soon()
        if self._stopping:
            return
        if was_ready:
            logs.event(logging.ERROR, "the zygote died and is started again", status=status)
            self.message = "the zygote died and is started again"
        elif not self._has_failed:
            self._preload_failed(f"preload of {self._modules()} failed: {_ending(status)}")
        if self.failed.done():
            return
        self._start_again_later()

    def _start_again(self) -> None:
        if self._stopping:
            return
        self._has_failed = False
        try:
            self.pid, self._control = _new_zygote(self.config)
        except OSError as error:
            self.message = f"the zygote cannot be started: {error}"
            logs.event(logging.ERROR, self.message)
            self._start_again_later()
        else:
            self._attach()

    def _start_again_later(self) -> None:
        self._loop.call_later(self._delay, self._start_again)
        self._delay = min(2 * self._delay, _MAX_RESTART_DELAY)
        self._on_change()

    def stop(self) -> None:
        """No executor is made after this."""
        self._stopping = True
        self.ready.clear()
        processes.send(self.pid, signal.SIGKILL)


def _new_zygote(config: WorkerConfig) -> tuple[int, socket.socket]:
    """Its pid, and our end of its socket. Raises OSError, and then there is neither."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        try:
            pid = _execute_zygote(theirs.fileno(), config)
        except OSError:
            ours.close()
            raise
    ours.setblocking(False)
    with contextlib.suppress(OSError):  # it has died, which its exit status tells
        ours.send(zygote.encode(zygote.Configure(config, os.getpid())))
    return pid, ours


def _execute_zygote(control: int, config: WorkerConfig) -> int:
    """A new interpreter, for this process knows the link's secret by now."""
    descriptor = 3
    actions = [
        (os.POSIX_SPAWN_DUP2, 2, 1),
        (os.POSIX_SPAWN_DUP2, control, descriptor),
    ]
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", "anypod_worker.zygote", str(descriptor)],
        environment.clean(os.environ, environment.declared(config)),
        file_actions=actions,
        setsigmask=[],
        setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGUSR1],
    )


def _ending(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"its process exited with {code}" if code >= 0 else f"its process died of signal {-code}"
