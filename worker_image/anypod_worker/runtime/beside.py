"""Executions of one program that run beside each other: each a task of one loop.

For programs that wait. What belongs to one execution is told apart by a context variable, which
tasks and ``asyncio.to_thread`` inherit: what it prints, and which tasks it has started. What is the
process's (the environment, the current directory, signal handlers) they share, like threads do.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context, ContextVar
from time import perf_counter  # by name: a program may replace them
from typing import Any, Protocol
from weakref import WeakSet

from anypod import reporting
from anypod.wire.messages import PROGRESS_MESSAGE
from anypod_worker.kinds.given import Given
from anypod_worker.runtime import (
    cutting,
    failures,
    interrupts,
    loops,
    results,
    running,
    shared_streams,
    steps,
)
from anypod_worker.runtime.loading import LoadedProgram, invalid
from anypod_worker.runtime.running import Outcome
from anypod_worker.runtime.shared_streams import Stream
from anypod_worker.runtime.signatures import plan_of

_LAST_TURNS_SECONDS = 0.1
"""For what executions left running in spite of a cancel."""
_PARTIAL_LINE_BYTES = 8192
NOBODY = ""
"""Stands for an execution that has ended, where something is printed."""


class Outside(Protocol):
    """Whom executions tell. Called from any thread, and not interrupted."""

    def begun(self, execution: str) -> None: ...
    def chunk(self, execution: str, data: bytes) -> None: ...
    def printed(self, execution: str, stream: Stream, data: bytes) -> None: ...
    def progress(self, execution: str, done: float, total: float | None, message: str) -> None: ...
    def done(self, execution: str, outcome: Outcome) -> None: ...


class _Member:
    """One execution."""

    def __init__(
        self, id_: str, inputs: bytes, given: Given | None, outside: Outside, window: int
    ) -> None:
        self.id = id_
        self.inputs = inputs
        self.given = given
        self.outcome = Outcome()
        self.tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
        """That the program has started."""
        self.main: asyncio.Task[None] | None = None
        self.is_over = False
        self.follows = False
        self._outside = outside
        self._credit = window
        self._room: asyncio.Future[None] | None = None
        self._lines: dict[Stream, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}

    # streaming

    def emit(self, data: bytes) -> None:
        self.flush()
        self._credit -= len(data)
        self._outside.chunk(self.id, data)

    def give_credit(self, size: int) -> None:
        self._credit += size
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    async def turn(self) -> None:
        """Until another chunk may be emitted."""
        await asyncio.sleep(0)
        while self._credit <= 0:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    # printing

    def print(self, stream: Stream, data: bytes) -> None:
        if self.is_over:
            self._outside.printed(NOBODY, stream, data)
            return
        line = self._lines[stream]
        line += data
        if b"\n" in data or len(line) > _PARTIAL_LINE_BYTES:
            self._flush(stream, line)

    def flush(self) -> None:
        for stream, line in self._lines.items():
            if line:
                self._flush(stream, line)

    def tell(self, done: float, total: float | None, message: str) -> None:
        if self.follows and not self.is_over:
            self._outside.progress(
                self.id, done, total, cutting.beginning(message, PROGRESS_MESSAGE)
            )

    def _flush(self, stream: Stream, line: bytearray) -> None:
        data = bytes(line)
        line.clear()
        self._outside.printed(self.id, stream, data)


_member: ContextVar[_Member | None] = ContextVar("anypod_execution", default=None)


class Task(asyncio.Task[Any]):
    member: _Member | None = None
    """Whose it is. Messages begin with the name of the class."""


def _print(stream: Stream, data: bytes) -> bool:
    member = _member.get()
    if member is None:
        return False
    member.print(stream, data)
    return True


def _tell(done: float, total: float | None, message: str) -> None:
    member = _member.get()
    if member is not None:
        member.tell(done, total, message)


def _tell_unseen(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An exception that nobody has seen: it may come up in the step of any execution."""
    task = context.get("task") or context.get("future")
    before = _member.set(getattr(task, "member", None))
    try:
        loop.default_exception_handler(context)
    finally:
        _member.reset(before)


class Company:
    """The executions that run now, or will: it can be made before there are any."""

    _program: LoadedProgram

    def __init__(
        self,
        outside: Outside,
        end: int,
        on_readable: Callable[[], None],
        *,
        output_limit: int,
        window: int,
        mark: Callable[[bytes], None],
    ) -> None:
        """``on_readable`` is called while they run, when there is something to read at this
        descriptor; ``window``: bytes of chunks that an execution may send before it is given
        credit; ``mark``: see ``steps.Loop``."""
        self._outside = outside
        self._output_limit = output_limit
        self._window = window
        self._members: dict[str, _Member] = {}
        self._streams = shared_streams.Shared(_print)
        self._loop = steps.Loop(mark)
        self._loop.set_task_factory(self._make_task)
        self._loop.set_exception_handler(_tell_unseen)
        self._loop.add_reader(end, self._hear, on_readable)

    def __bool__(self) -> bool:
        return bool(self._members)

    # from outside

    def start(
        self,
        id_: str,
        inputs: bytes,
        *,
        stream: bool,
        given: Given | None = None,
        follows: bool = False,
    ) -> None:
        """``follows``: somebody wants to know how far it is."""
        member = _Member(id_, inputs, given, self._outside, self._window)
        member.follows = follows
        if given is not None:
            cutting.hide(given.keys)
        self._members[id_] = member
        context = Context()
        context.run(_member.set, member)
        steps.belong(context, id_)
        task = asyncio.Task(self._run(member, stream=stream), loop=self._loop, context=context)
        member.main = task
        task.add_done_callback(lambda _: self._end(member))

    def interrupt(self, id_: str) -> None:
        member = self._members.get(id_)
        if member is not None and member.main is not None:
            member.outcome.interrupted = True
            member.main.cancel()

    def give_credit(self, id_: str, size: int) -> None:
        member = self._members.get(id_)
        if member is not None:
            member.give_credit(size)

    # running

    def serve(self, program: LoadedProgram) -> bool:
        """Until nothing runs; whether nothing is left of it."""
        self._program = program
        threads = running.count_threads()
        running.begin(program, None)
        reporting.listen(_tell)
        asyncio.set_event_loop(self._loop)
        try:
            with self._streams, self._interrupts():
                while self._members:
                    self._turn()
                return self._close() and not running.threads_left(threads)
        finally:
            asyncio.set_event_loop(None)
            reporting.listen(None)
            cutting.forget()
            running.end(program)

    def close(self) -> None:
        """Of one that has not served, and need not."""
        self._loop.close()

    def _interrupts(self) -> interrupts.Steps:
        programs = Company._perform.__code__, Company._call.__code__
        return interrupts.Steps(lambda: self._loop.step_began, *programs)

    def _hear(self, on_readable: Callable[[], None]) -> None:
        on_readable()  # by a function of this file: it is not interrupted

    def _turn(self) -> None:
        try:
            self._loop.run_forever()
        except (KeyboardInterrupt, SystemExit):
            # Out of a task that an execution started; who awaits that task gets it as well.
            return

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, work: Any, **how: Any
    ) -> "asyncio.Task[Any]":
        task = Task(work, loop=loop, **how)
        task.member = _member.get()
        if task.member is not None:
            task.member.tasks.add(task)
        return task

    async def _run(self, member: _Member, *, stream: bool) -> None:
        self._outside.begun(member.id)
        try:
            await self._perform(member, member.emit if stream else None)
        except interrupts.Interrupted as error:
            member.outcome.interrupted = True
            member.outcome.failure = failures.of_interrupt(error, self._program.directory)
        left = [task for task in member.tasks if not task.done()]
        if left:
            await loops.end_tasks(left)

    async def _perform(self, member: _Member, emit: Callable[[bytes], None] | None) -> None:
        """Fill the outcome, whatever the program does; raises Interrupted, as nothing else here."""
        try:
            await self._call(member, emit)
        except interrupts.Interrupted:
            raise
        except BaseException as error:  # noqa: BLE001 - a program may raise anything
            if member.outcome.interrupted and isinstance(error, asyncio.CancelledError):
                member.outcome.failure = failures.of_interrupt(error, self._program.directory)
            else:
                member.outcome.failure = running.failure_of(error, self._program)

    async def _call(self, member: _Member, emit: Callable[[bytes], None] | None) -> None:
        plan = plan_of(self._program)
        if not plan.waits:
            raise invalid(NOT_ASYNC)
        arguments, named = plan.bind(member.inputs, None, member.given)
        began = perf_counter()
        try:
            value = self._program.entry(*arguments, **named)
            member.outcome.outputs = await results.awaited(
                value, emit, self._output_limit, member.turn
            )
        finally:
            member.outcome.run_seconds = perf_counter() - began

    def _end(self, member: _Member) -> None:
        outcome = member.outcome
        if outcome.failure is None and outcome.outputs is None:  # cancelled before it began
            outcome.failure = failures.STOPPED
        if member.given is not None:
            outcome.usage = member.given.usage
        del self._members[member.id]
        member.flush()
        member.is_over = True
        self._outside.done(member.id, outcome)
        if not self._members:
            self._loop.stop()

    def _close(self) -> bool:
        """Whether everything that ran in the loop has ended."""
        self._loop.threads.shutdown(wait=False, cancel_futures=True)
        self._loop.set_task_factory(None)
        left = asyncio.all_tasks(self._loop)
        ending = self._loop.create_task(_end_all(left))
        self._loop.call_later(_LAST_TURNS_SECONDS, self._loop.stop)
        ending.add_done_callback(lambda _: self._loop.stop())
        self._turn()
        ended = ending.done()
        if ended:
            self._loop.close()
        return ended


async def _end_all(tasks: "set[asyncio.Task[Any]]") -> None:
    await loops.end_tasks(tasks)
    await asyncio.get_running_loop().shutdown_asyncgens()


NOT_ASYNC = (
    "concurrency is for programs that wait: the entry must be an `async def` function or an async "
    "generator"
)
