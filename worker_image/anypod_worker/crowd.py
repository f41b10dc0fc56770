"""The executions that share one executor, as its supervisor sees them.

One of them is stopped by a frame: its task is cancelled, and the others go on. Only when the
executor does not answer meanwhile, because a step of some execution keeps its loop, that step is
interrupted by a signal; and only if that does not help either, the executor is killed.
"""

import asyncio
import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, get_args

import msgspec

from anypod_worker import frames, logs, marks
from anypod_worker.keys import NO_KEYS, Keys
from anypod_worker.printed import Printed, Stream

if TYPE_CHECKING:
    from anypod_worker.executors import Death, Executor, Job

SILENT_SECONDS = 0.2
"""An executor that has not answered for so long is kept by one step."""
LAST_CHANCE_SECONDS = 1.0
"""For a step that has been interrupted, before the executor is killed with all that is in it."""
BLOCKED_SECONDS = 5.0
"""How long one step may keep the others waiting."""
LEFT_SECONDS = 2.0
"""For one that was withdrawn, to be ended by the executor."""
BLOCKED = "blocked"
STUBBORN = "stubborn"
TOGETHER = frozenset({"memory", "oom", "processes"})
"""Ends of an executor that what runs in it has brought about together."""
_LOG_BYTES = 64 * 1024

FromOne = (
    frames.Done
    | frames.Chunk
    | frames.Progress
    | frames.Used
    | frames.Begun
    | frames.Printed
    | frames.NeedCode
)
OF_ONE = get_args(FromOne)


@dataclass(slots=True)
class Member:
    job: "Job"
    run: frames.Run
    has_begun: bool = False
    is_left: bool = False
    """It has been answered for, though it has not ended."""


class Crowd:
    def __init__(self, executor: "Executor") -> None:
        self.members: dict[str, Member] = {}
        self.closed = ""
        """Why no more may come."""
        self.holder: object = None
        """For whom the executor is taken, from ``open`` until nothing runs in it any more."""
        self.is_used = False
        """Since it was opened."""
        self._executor = executor
        self._keys = NO_KEYS
        self._printed: Printed | None = None

    def open(self, holder: object, keys: Keys) -> None:
        self.holder = holder
        self._keys = keys
        self.closed = ""
        self.is_used = False
        self._printed = None

    def add(self, job: "Job", run: frames.Run) -> None:
        self.is_used = True
        self.members[run.id] = Member(job, run)

    # what comes

    def take(self, frame: FromOne) -> None:
        """Raises BadFrame."""
        if isinstance(frame, frames.Printed) and not frame.id:
            self._log(frame.stream, frame.data)
            return
        member = self.members.get(frame.id)
        if member is None and isinstance(frame, frames.Used):
            return  # a thread that it has left asks on
        if member is None:
            raise frames.OfAnother("speaks of what does not run")
        if isinstance(frame, frames.Done):
            self._take_end(member, frame)
        elif isinstance(frame, frames.NeedCode):
            self._resend(member)
        elif isinstance(frame, frames.Begun):
            self._begin(member)
        elif member.is_left:
            return
        elif isinstance(frame, frames.Chunk):
            member.job.chunk(frame.data)
        elif isinstance(frame, frames.Printed):
            member.job.printed(frame.stream, frame.data)
        elif isinstance(frame, frames.Used):
            member.job.used(frame.usage)
        else:
            member.job.progress(frame)

    def _begin(self, member: Member) -> None:
        if not (member.has_begun or member.is_left):
            member.job.begun()
        member.has_begun = True

    def _take_end(self, member: Member, frame: frames.Done) -> None:
        self._executor.drain()
        del self.members[frame.id]
        if not member.is_left:
            member.job.done(frame)
        self._after_one()

    def _after_one(self) -> None:
        """One has ended, or is waited for no longer."""
        if not self.members:
            self._end_printed()
            self.holder = None
            self._executor.become_free()
        elif self.closed and self._all_are_left():
            self._executor.kill(self.closed)

    def _all_are_left(self) -> bool:
        return all(member.is_left for member in self.members.values())

    def _resend(self, member: Member) -> None:
        if member.is_left:
            del self.members[member.run.id]
            self._after_one()
            return
        code = member.job.code
        if code is None or member.run.code is not None:
            raise frames.BadFrame("asks for code that it was given")
        member.run = msgspec.structs.replace(member.run, code=code)
        self._executor.send(member.run)

    def printed(self, stream: Stream, data: bytes) -> None:
        """Written to a descriptor: of the one that runs, or nobody knows whose."""
        running = [member for member in self.members.values() if member.has_begun]
        if len(running) == 1:
            if not running[0].is_left:
                running[0].job.printed(stream, data)
        else:
            self._log(stream, data)

    def _log(self, stream: Stream, data: bytes) -> None:
        if self._printed is None:
            name = f"several in executor {self._executor.number}"
            self._printed = Printed(name, _LOG_BYTES, None, self._keys)
        self._printed.add(stream, data)

    def _end_printed(self) -> None:
        if self._printed is not None:
            self._printed.end()
            self._printed = None

    # stopping

    def interrupt(self, execution: str) -> None:
        """Cancel its task; and the step that keeps the loop from doing so."""
        if execution not in self.members:
            return
        if self._executor.silent_seconds >= SILENT_SECONDS:
            self._executor.signal()
        self._executor.send(frames.Interrupt(execution))
        self._executor.ping()

    def withdraw(self, execution: str) -> None:
        """It has not begun, and need not."""
        member = self.members.get(execution)
        if member is not None:
            member.is_left = True
            self._executor.send(frames.Interrupt(execution))
            self._see_to(member)

    def _see_to(self, member: Member) -> None:
        asyncio.get_running_loop().call_later(LEFT_SECONDS, self._end_left, member)

    def _end_left(self, member: Member) -> None:
        if self.members.get(member.run.id) is not member:
            return
        if member.has_begun or self._all_are_left():
            self.closed = STUBBORN
            self._after_one()
        else:  # it may wait for another's step, and is nobody's fault
            self._see_to(member)

    def give_up(self, execution: str, why: str, *, at_once: bool = False) -> None:
        """It does not end, or the loop does not turn, which may be the fault of another."""
        member = self.members.get(execution)
        if member is None or member.is_left:
            return
        if self._running() == 1:
            self._executor.kill(why)
        elif not self._executor.unanswered_pings:
            self._leave(execution, member)
        elif at_once:
            self._executor.kill(BLOCKED)
        else:
            self._executor.signal()
            asyncio.get_running_loop().call_later(
                LAST_CHANCE_SECONDS, partial(self.give_up, execution, why, at_once=True)
            )

    def _leave(self, execution: str, member: Member) -> None:
        """Whatever it is at, the others may go on to their ends."""
        logs.event(
            logging.WARNING,
            "an execution does not end; its executor takes no others",
            execution=execution,
            executor=self._executor.number,
        )
        self.closed = STUBBORN
        member.is_left = True
        member.job.given_up()
        self._after_one()

    def look(self) -> None:
        """Now and then: whether its loop turns."""
        silent = self._executor.silent_seconds
        if not self._executor.unanswered_pings:
            self._executor.ping()
        elif silent > BLOCKED_SECONDS and self._running() != 1:
            if silent > 2 * BLOCKED_SECONDS:
                self._executor.kill(BLOCKED)
            else:
                self._executor.signal()

    def _running(self) -> int:
        return sum(member.has_begun for member in self.members.values())

    # the executor's end

    def lost(self, death: "Death") -> None:
        """Each is told as much as concerns it: what has not begun can begin elsewhere."""
        members = list(self.members.values())
        self.members.clear()
        self._end_printed()
        begun = [member.run.id for member in members if member.has_begun]
        guilty = self._guilty(death, begun) if members else begun
        for member in members:
            if not member.is_left:
                unread = not member.has_begun
                by_another = death.by_another or member.run.id not in guilty
                member.job.lost(replace(death, job_unread=unread, by_another=by_another))

    def _guilty(self, death: "Death", begun: list[str]) -> list[str]:
        """Who has ended it, as far as is known."""
        if len(begun) == 1 or death.reason in TOGETHER:
            return begun
        if death.reason in ("", BLOCKED):
            return [marks.last(self._executor.directory)]
        return []
