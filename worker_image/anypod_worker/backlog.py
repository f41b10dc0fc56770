"""Executions that a gateway has sent ahead: they begin the moment an executor is free.

Without it an executor is idle from its answer until the gateway has read that and sent the next,
which for a short program is most of the time; and a gateway that is quick to refill would keep
another one out. Nobody is stuck here: what has not begun within BACKLOG_SECONDS is refused, and its
gateway places it elsewhere.
"""

import asyncio
from collections import OrderedDict

from anypod.wire.messages import Code
from anypod_worker.execution import Execution
from anypod_worker.executors import Executor

BACKLOG_SECONDS = 0.02


class Backlog:
    def __init__(self, room: int) -> None:
        self._room = room
        self._loop = asyncio.get_running_loop()
        self._waiting: OrderedDict[Execution, tuple[Code, float]] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        """For the first of them, or for one that was first and has begun since."""

    @property
    def has_room(self) -> bool:
        return len(self._waiting) < self._room

    def add(self, execution: Execution, code: Code) -> None:
        give_up_at = self._loop.time() + BACKLOG_SECONDS
        self._waiting[execution] = (code, give_up_at)
        if self._timer is None:
            self._timer = self._loop.call_at(give_up_at, self._give_up)

    def take(self, executor: Executor) -> bool:
        """Give the executor to the first that still wants it; False when nobody does."""
        while self._waiting:
            execution, (code, _) = self._waiting.popitem(last=False)
            if not execution.ended:
                execution.start(executor, code)
                return True
        return False

    def _give_up(self) -> None:
        """Refuse those whose time is over, and see to the next."""
        self._timer = None
        now = self._loop.time()
        while self._waiting:
            execution, (_, give_up_at) = next(iter(self._waiting.items()))
            if give_up_at > now:
                self._timer = self._loop.call_at(give_up_at, self._give_up)
                return
            del self._waiting[execution]
            if not execution.ended:
                execution.refuse("full")
