"""Looks at executors now and then: memory and descendants of busy ones, life signs of idle ones.

The second line behind RLIMIT_DATA: a program that starts processes, or shares memory between them,
gets past a limit that the kernel counts per process.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping

from anypod.wire.config import Limits
from anypod_worker import failures, logs, memory, processes
from anypod_worker.executors import Executor

BUSY_SECONDS = 0.1
IDLE_SECONDS = 2.0
MAX_UNANSWERED_PINGS = 2
_SLACK_BYTES = 32 * 1024 * 1024
"""What an executor needs beside the program."""


class Watch:
    def __init__(
        self,
        limits: Limits,
        executors: Mapping[int, Executor],
        on_look: Callable[[], None],
    ) -> None:
        self.kernel_kills = memory.KernelKills()
        self.memory_bytes = 0
        self._limits = limits
        self._executors = executors
        self._on_look = on_look
        self._growth = memory.Growth()

    def begin(self, executor: Executor) -> None:
        self._growth.begin(executor.pid)

    async def run(self) -> None:
        """Until cancelled."""
        looks = 0
        while True:
            await asyncio.sleep(BUSY_SECONDS)
            self._look_at_busy()
            looks += 1
            if looks * BUSY_SECONDS >= IDLE_SECONDS:
                looks = 0
                self._look_at_all()

    def _look_at_busy(self) -> None:
        busy = [e for e in self._executors.values() if e.is_busy and e.pid]
        if busy:
            self.kernel_kills.look(time.monotonic())
            for executor in busy:
                self._look_at(executor)
                if executor.job is None:
                    executor.crowd.look()

    def _look_at(self, executor: Executor) -> int:
        below = processes.descendants(executor.pid)
        if len(below) > self._limits.processes:
            self._kill(executor, failures.PROCESSES, descendants=len(below))
        used = self._growth.of_tree(executor.pid, below)
        limit = self._limits.memory_bytes + _SLACK_BYTES
        if used > limit and self._exactly(executor, below, used) > limit:
            self._kill(executor, failures.MEMORY, bytes=used)
        executor.grown_bytes = used
        return used

    def _exactly(self, executor: Executor, below: list[int], estimate: int) -> int:
        """What the kernel says, if it says it of everybody."""
        shares = [memory.proportional(pid) for pid in (executor.pid, *below)]
        known = [share for share in shares if share is not None]
        return sum(known) if len(known) == len(shares) else estimate

    def _kill(self, executor: Executor, reason: str, **why: int) -> None:
        logs.event(
            logging.WARNING, "executor killed", executor=executor.number, reason=reason, **why
        )
        executor.kill(reason)

    def _look_at_all(self) -> None:
        self.kernel_kills.look(time.monotonic())
        total = 0
        pids: set[int] = set()
        for executor in list(self._executors.values()):
            if not executor.pid or executor.is_gone:
                continue
            pids.update((executor.pid, *processes.descendants(executor.pid)))
            total += self._look_at(executor)
            if executor.is_idle:
                self._ping(executor)
        self._growth.forget_all_but(pids)
        own = memory.resident(os.getpid())
        self.memory_bytes = total + (own.private if own is not None else 0)
        self._on_look()

    def _ping(self, executor: Executor) -> None:
        if executor.unanswered_pings >= MAX_UNANSWERED_PINGS:
            self._kill(executor, "wedged")
        else:
            executor.ping()
