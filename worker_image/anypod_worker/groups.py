"""Executions that their gateway wants to run in one executor: those of a program that waits.

The gateway counts a group as one executor, so a group has one; another takes its place when that
must not go on, or has served long.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial

from anypod.wire.config import Limits
from anypod.wire.messages import Execute
from anypod_worker import frames
from anypod_worker.execution import Execution, RefusalReason
from anypod_worker.executors import Executor
from anypod_worker.keys import NO_KEYS, Keys
from anypod_worker.programs import ProgramCache
from anypod_worker.slots import Slots
from anypod_worker.work import Gateway, Work

Prepare = Callable[[Work, Coroutine[None, None, None]], None]


class Group:
    def __init__(self, revision: str, slots: Slots, programs: ProgramCache, keys: Keys) -> None:
        self.members: set[Execution] = set()
        self._revision = revision
        self._slots = slots
        self._programs = programs
        self._keys = keys
        self._executor: Executor | None = None
        self._claiming: asyncio.Task[None] | None = None

    @property
    def has_room(self) -> bool:
        return self._claiming is not None or self._suits(self._executor)

    def start_at_once(self, execution: Execution) -> bool:
        code = self._programs.get(self._revision)
        executor = self._now() if code is not None else None
        if code is None or executor is None:
            return False
        execution.start_beside(executor, code)
        return True

    async def start(self, execution: Execution) -> None:
        code = self._programs.get(self._revision)
        if code is None:
            code = await execution.ask_program()
        while (executor := self._now()) is None:
            if self._claiming is None:
                self._claiming = asyncio.create_task(self._claim())
            await asyncio.shield(self._claiming)
        execution.start_beside(executor, code)

    def leave(self, execution: Execution) -> bool:
        """Whether it was the last."""
        self.members.discard(execution)
        if self.members:
            return False
        if self._claiming is not None:
            self._claiming.cancel()
        self._give_back()
        return True

    def _now(self) -> Executor | None:
        if self._claiming is not None:
            return None
        if self._suits(self._executor):
            return self._executor
        executor = self._slots.take_at_once(self._revision)
        if executor is not None:
            self._use(executor)
        return executor

    def _suits(self, executor: Executor | None) -> bool:
        if executor is None or executor.crowd.holder is not self or not executor.takes_more:
            return False
        return not (self._slots.idle and self._slots.is_worn(executor))

    async def _claim(self) -> None:
        claim = self._slots.claim(self._revision)
        try:
            executor = await claim.executor()
            claim.used()
            self._use(executor)
        finally:
            claim.release()
            self._claiming = None

    def _use(self, executor: Executor) -> None:
        executor.crowd.open(self, self._keys)
        self._executor = executor

    def _give_back(self) -> None:
        """An executor that it has taken and not used; another becomes free by itself."""
        executor, self._executor = self._executor, None
        if executor is not None and executor.crowd.holder is self and not executor.crowd.is_used:
            executor.crowd.holder = None
            self._slots.give_back(executor)


class Groups:
    def __init__(
        self,
        limits: Limits,
        slots: Slots,
        programs: ProgramCache,
        prepare: Prepare,
        on_change: Callable[[], None],
        keys: Keys = NO_KEYS,
    ) -> None:
        self._limits = limits
        self._slots = slots
        self._programs = programs
        self._prepare = prepare
        self._on_change = on_change
        self._keys = keys
        self._groups: dict[tuple[Gateway, str], Group] = {}

    def refusal(self, gateway: Gateway, name: str) -> RefusalReason | None:
        group = self._groups.get((gateway, name))
        if group is not None and group.has_room:
            return None
        return None if self._slots.idle or self._slots.expects_one else "full"

    def accept(self, gateway: Gateway, message: Execute) -> Execution:
        """Take one that ``refusal`` has nothing against."""
        key = (gateway, message.group)
        group = self._groups.get(key)
        if group is None:
            group = Group(message.revision, self._slots, self._programs, self._keys)
            self._groups[key] = group

        def left(execution: Execution, _: frames.Done | None) -> None:
            if group.leave(execution) and self._groups.get(key) is group:
                del self._groups[key]
            self._on_change()

        execution = Execution(gateway, message, self._limits, left, self._keys)
        group.members.add(execution)
        execution.restart = partial(self._start, group, execution)
        if not group.start_at_once(execution):
            execution.restart()
        self._on_change()
        return execution

    def _start(self, group: Group, execution: Execution) -> None:
        self._prepare(execution, group.start(execution))
