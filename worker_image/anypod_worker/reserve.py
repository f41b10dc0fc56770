"""Warm executors that nobody uses yet: whoever loses one has the next at once.

Shared slots and sessions take their executors from here. One is made for each that is wanted, and
``size`` more are kept; a fork that fails is tried again with a growing pause.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

from anypod_worker import logs
from anypod_worker.chores import Chores
from anypod_worker.executors import Death, Executor, Owner
from anypod_worker.forks import Forks
from anypod_worker.scratch import Scratch
from anypod_worker.tasks import Tasks

_RETRY = 0.02
_MAX_RETRY = 5.0


class Reserve:
    def __init__(self, forks: Forks, scratch: Scratch, chores: Chores, size: int) -> None:
        self.all: dict[int, Executor] = {}
        """Every executor that lives, wherever it is used."""
        self.message = ""
        """Why none can be made, if so."""
        self.on_warm: Callable[[Executor], None] = lambda _: None
        self._forks = forks
        self._scratch = scratch
        self._chores = chores
        self._size = size
        self._loop = asyncio.get_running_loop()
        self._warm: deque[Executor] = deque()
        self._starting = 0
        self._wanted: deque[asyncio.Future[Executor]] = deque()
        self._retry = _RETRY
        self._tasks = Tasks(self._start_failed)
        self._closed = False

    def take_at_once(self, owner: Owner) -> Executor | None:
        """A warm executor, if there is one."""
        while self._warm:
            executor = self._warm.popleft()
            if executor.is_idle:
                executor.owner = owner
                self.top_up()
                return executor
        return None

    async def take(self, owner: Owner) -> Executor:
        """The next warm executor; those who wait are served in their order."""
        executor = self.take_at_once(owner) if not self._waiting() else None
        while executor is None or not executor.is_idle:
            executor = await self._next_warm()
        executor.owner = owner
        return executor

    async def _next_warm(self) -> Executor:
        future: asyncio.Future[Executor] = self._loop.create_future()
        self._wanted.append(future)
        self.top_up()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._keep(future.result())
            raise

    @property
    def has_warm(self) -> bool:
        return bool(self._warm)

    def top_up(self) -> None:
        """Fork what is missing."""
        while not self._closed and self._starting + len(self._warm) < self._size + self._waiting():
            self._starting += 1
            self._tasks.spawn(self._fork())

    def _waiting(self) -> int:
        return sum(not future.done() for future in self._wanted)

    async def _fork(self) -> None:
        try:
            executor = await self._forks.fork(self._scratch.for_executor, self)
        except OSError as error:
            self._start_failed(str(error))
        else:
            self.all[executor.number] = executor

    def _start_failed(self, why: str = "the worker itself failed") -> None:
        self.message = f"no executor can be made: {why}"
        logs.event(logging.ERROR, self.message)
        self._starting -= 1
        self._loop.call_later(self._retry, self.top_up)
        self._retry = min(2 * self._retry, _MAX_RETRY)

    def _keep(self, executor: Executor) -> None:
        if not executor.is_idle:
            return
        executor.owner = self
        while self._wanted:
            future = self._wanted.popleft()
            if not future.done():
                future.set_result(executor)
                return
        self._warm.append(executor)

    # as the owner of those that nobody has taken

    def warm(self, executor: Executor) -> None:
        self._starting -= 1
        self._retry = _RETRY
        self.message = ""
        self.on_warm(executor)
        self._keep(executor)

    def free(self, executor: Executor) -> None:
        raise AssertionError("an executor in reserve runs nothing")

    def gone(self, executor: Executor, death: Death) -> None:
        self.forget(executor)
        if executor.is_warm:
            if executor in self._warm:
                self._warm.remove(executor)
            self.top_up()
        else:
            self._start_failed(f"it died at its start, {_told(death)}")

    def forget(self, executor: Executor) -> None:
        """It is gone: end and remove what it left behind."""
        self.all.pop(executor.number, None)
        if self._closed:
            return  # then everything is ended and removed at once
        self._forks.family.sweep()
        self._chores.add(partial(self._remove, executor.directory))

    def _remove(self, directory: Path) -> None:
        try:
            self._scratch.remove(directory)
        except OSError as error:
            logs.event(logging.WARNING, "a directory is left", why=str(error))

    def close(self) -> None:
        self._closed = True
        for future in self._wanted:
            future.cancel()
        self._tasks.cancel()


def _told(death: Death) -> str:
    if death.reason:
        return death.reason
    return death.signal or f"exit code {death.exit_code}"
