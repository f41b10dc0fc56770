"""The shared executors: which of them runs an execution, and when one of them is replaced.

There are as many slots as the pool says. A slot whose executor died, or must not go on, gets the
next one from the reserve. Recycling of executors that have merely grown old goes one at a time.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable

from anypod.wire.config import WorkerConfig
from anypod_worker import logs
from anypod_worker.executors import Death, Executor
from anypod_worker.reserve import Reserve
from anypod_worker.tasks import Tasks

MAX_WAITING = 256
"""Checks, which wait for a busy executor; executions wait only for one that is being made."""


class Claim:
    """One executor for one piece of work, from the moment that the work is accepted.

    Whoever makes it calls ``release`` in the end, whatever happened.
    """

    def __init__(self, slots: "Slots", revision: str) -> None:
        self._slots = slots
        self._revision = revision
        self._executor: Executor | None = None
        self._future: asyncio.Future[Executor] | None = None
        self._ask()

    def _ask(self) -> None:
        self._executor = self._slots.take_at_once(self._revision)
        self._future = self._slots.wait() if self._executor is None else None

    async def executor(self) -> Executor:
        """Once there is one that suits."""
        while True:
            if self._future is not None:
                self._executor = await self._future
                self._future = None
            executor = self._executor
            if executor is not None and self._slots.suits(executor, self._revision):
                return executor
            self._ask()

    def used(self) -> None:
        """It runs the work, and is free again when that has ended."""
        self._executor = None

    def release(self) -> None:
        if self._future is not None and not self._future.cancel() and not self._future.cancelled():
            self._executor = self._future.result()
        self._future = None
        if self._executor is not None:
            self._slots.give_back(self._executor)
            self._executor = None


class Slots:
    def __init__(
        self,
        config: WorkerConfig,
        reserve: Reserve,
        on_change: Callable[[], None],
        take: Callable[[Executor], bool] = lambda _: False,
    ) -> None:
        """``take`` is offered an executor that nobody has claimed, before it becomes idle."""
        self.restarts: Counter[str] = Counter()
        self._config = config
        self._reserve = reserve
        self._on_change = on_change
        self._take = take
        self._members: dict[int, Executor] = {}
        self._idle: list[Executor] = []
        self._empty = 0
        self._waiting: deque[asyncio.Future[Executor]] = deque()
        self._tasks = Tasks()
        self._closed = False

    def start(self) -> None:
        for _ in range(self._config.executors):
            self._fill_one()

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def busy(self) -> int:
        return len(self._members) - len(self._idle)

    @property
    def is_whole(self) -> bool:
        return len(self._members) == self._config.executors

    def members(self) -> list[Executor]:
        return list(self._members.values())

    # taking and giving back

    def take_at_once(self, revision: str) -> Executor | None:
        """The idle executor that fits best: one that has the revision, else any."""
        if not self._idle:
            return None
        for position in range(len(self._idle) - 1, -1, -1):
            if revision in self._idle[position].revisions:
                return self._idle.pop(position)
        if self._config.isolation == "program":
            return self._take_unbound()
        return self._idle.pop()

    def _take_unbound(self) -> Executor | None:
        """One that has run nothing yet; else one is replaced by such a one."""
        for position, executor in enumerate(self._idle):
            if not executor.revisions:
                return self._idle.pop(position)
        self._retire(self._idle[0], "isolation")
        return self._idle.pop() if self._idle and not self._idle[-1].revisions else None

    @property
    def expects_one(self) -> bool:
        """Whether an executor is on its way for one execution more than already wait."""
        return self._empty > self._wanting()

    def _wanting(self) -> int:
        return sum(not future.done() for future in self._waiting)

    @property
    def can_queue(self) -> bool:
        return self._wanting() < MAX_WAITING

    def claim(self, revision: str) -> "Claim":
        return Claim(self, revision)

    def wait(self) -> asyncio.Future[Executor]:
        """The next executor that becomes free, first come first served."""
        future: asyncio.Future[Executor] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        return future

    def suits(self, executor: Executor, revision: str) -> bool:
        """Whether it can run this; if it must not, it is replaced."""
        if not executor.is_idle:
            return False
        if self._config.isolation == "program" and executor.revisions - {revision}:
            self._retire(executor, "isolation")
            return False
        return True

    def give_back(self, executor: Executor) -> None:
        """It was taken, and runs nothing (any more)."""
        if executor.number not in self._members:
            return
        if executor.replace:
            self._retire(executor, executor.replace)
        elif self._is_used_up(executor):
            self._retire(executor, "max-executions")
        elif self._config.isolation == "fresh" and executor.executions:
            self._retire(executor, "isolation")
        else:
            self._offer(executor)

    def _offer(self, executor: Executor) -> None:
        if not executor.is_idle:
            return
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(executor)
                return
        if self._take(executor):
            return
        self._idle.append(executor)
        self._on_change()

    # replacing

    def _retire(self, executor: Executor, reason: str) -> None:
        self._leave(executor, reason)
        executor.kill(reason)

    def _leave(self, executor: Executor, reason: str) -> None:
        del self._members[executor.number]
        if executor in self._idle:
            self._idle.remove(executor)
        if self._closed:
            return
        self.restarts[reason] += 1
        if reason != "isolation":
            logs.event(
                logging.INFO,
                "executor replaced",
                executor=executor.number,
                reason=reason,
                executions=executor.executions,
            )
        self._fill_one()
        self._on_change()

    def _fill_one(self) -> None:
        executor = self._reserve.take_at_once(self)
        if executor is not None:
            self._join(executor)
            return
        self._empty += 1
        self._tasks.spawn(self._fill_later())

    async def _fill_later(self) -> None:
        try:
            executor = await self._reserve.take(self)
        finally:
            self._empty -= 1
        self._join(executor)

    def _join(self, executor: Executor) -> None:
        self._members[executor.number] = executor
        self._offer(executor)

    def _is_used_up(self, executor: Executor) -> bool:
        return executor.executions >= self._config.recycle.max_executions and self._reserve.has_warm

    def is_worn(self, executor: Executor) -> bool:
        """Whether it is to be replaced as soon as nothing runs in it."""
        return self._reserve.has_warm and bool(self._wear(executor))

    @property
    def running(self) -> int:
        """Executions in shared executors."""
        return sum(
            len(executor.crowd.members) + (executor.job is not None)
            for executor in self._members.values()
        )

    def recycle_idle(self) -> None:
        """Replace one that is worn, if there is one and the reserve has one to give.

        The next one waits until the reserve is full again, so they go one at a time.
        """
        for executor in list(self._idle):
            reason = self._wear(executor)
            if reason and self._reserve.has_warm:
                self._retire(executor, reason)
                return

    def _wear(self, executor: Executor) -> str:
        recycle = self._config.recycle
        if executor.executions >= recycle.max_executions:
            return "max-executions"
        if time.monotonic() - executor.born >= recycle.max_age_seconds:
            return "max-age"
        return "memory-growth" if executor.grown_bytes > recycle.memory_growth_bytes else ""

    # as the owner of its executors

    def warm(self, executor: Executor) -> None:
        raise AssertionError("an executor is warm before it is shared")

    def free(self, executor: Executor) -> None:
        self.give_back(executor)

    def gone(self, executor: Executor, death: Death) -> None:
        if executor.number in self._members:
            self._leave(executor, death.reason or _cause(death))
        self._reserve.forget(executor)

    def close(self) -> None:
        self._closed = True
        for future in self._waiting:
            future.cancel()
        self._tasks.cancel()


def _cause(death: Death) -> str:
    return "exited" if death.signal is None else "crashed"
