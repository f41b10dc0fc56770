"""One executor as its supervisor sees it: a process, a socket, two pipes, and the job it runs.

It is gone when both its exit status is known and its socket has ended: only then has everything
been read that it sent before it died.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast, get_args

import msgspec

from anypod.wire.messages import Code, Usage
from anypod_worker import crowd, frames, logs, processes
from anypod_worker.crowd import Crowd
from anypod_worker.ends import Ends
from anypod_worker.pipes import Pipes
from anypod_worker.printed import Stream

_KILL_AGAIN = 0.002
_KILL_ROUNDS = 500
LAST_WORDS = 0.2
"""Between a socket's end and a process's end, whichever comes first."""
_READ = 64 * 1024
_LAST_READS = 16
"""More than a socket holds."""
_ENDS = (frames.Done, frames.Checked)
_Told = frames.Chunk | frames.Progress | frames.Kept | frames.Used
_OF_ONE = get_args(_Told)
CLOSED = "closed"
"""Why one is killed whose socket has ended, and which lives on."""


@dataclass(frozen=True)
class Death:
    """How an executor ended. ``reason`` says why the supervisor ended it, if it did."""

    reason: str = ""
    exit_code: int | None = None
    signal: str | None = None
    job_unread: bool = False
    """It died before it had read what it should run: nothing of that has happened."""
    by_another: bool = False
    """It was another execution that has ended it, as far as is known: one of several in it, or one
    before, that had said its end too early."""


class Job(Protocol):
    """What an executor runs."""

    code: Code | None

    def begun(self) -> None:
        """It runs, beside others; what runs alone has begun when it was sent."""

    def chunk(self, data: bytes) -> None: ...
    def progress(self, said: frames.Progress) -> None: ...
    def kept(self, frame: frames.Kept) -> None: ...
    def used(self, usage: Usage) -> None: ...
    def printed(self, stream: Stream, data: bytes) -> None: ...
    def done(self, frame: frames.Done | frames.Checked) -> None: ...
    def lost(self, death: Death) -> None: ...
    def given_up(self) -> None:
        """It does not end, and is waited for no longer."""


class Owner(Protocol):
    """Whom an executor tells about itself."""

    def warm(self, executor: "Executor") -> None: ...
    def free(self, executor: "Executor") -> None:
        """Its job has ended and it could run another."""

    def gone(self, executor: "Executor", death: Death) -> None: ...


class Executor(asyncio.Protocol):
    def __init__(
        self,
        number: int,
        directory: Path,
        ends: Ends,
        owner: Owner,
        *,
        max_frame_bytes: int,
        memory_was_short: Callable[[], bool],
    ) -> None:
        """``memory_was_short``: whether the kernel has killed somebody for want of it just now."""
        self.number = number
        self.directory = directory
        self.owner = owner
        self.pid = 0
        self.is_warm = False
        self.is_gone = False
        self.job: Job | None = None
        self.revisions: set[str] = set()
        self.executions = 0
        self.born = time.monotonic()
        self.grown_bytes = 0
        """Private memory beyond what it was forked with, as the watch last saw it."""
        self.replace = ""
        """Why it must not run anything else."""
        self.signals_confined = False
        self.unanswered_pings = 0
        self.asked_at = 0.0
        """When it was sent the first of these pings."""
        self.crowd = Crowd(self)
        """What runs in it instead of ``job``, when several do at once."""
        self._shared = self.crowd.members
        self._ends = ends
        self._memory_was_short = memory_was_short
        self._loop = asyncio.get_running_loop()
        self._reader = frames.FrameReader(max_frame_bytes)
        self._transport: asyncio.Transport | None = None
        self._run: frames.Run | frames.Check | None = None
        self._said_more = False
        self._left_unread = False
        self._condemned = ""
        self._by_another = False
        self._status: int | None = None
        self._socket_ended = False
        self._pipes = Pipes(self._loop, ends.stdout, ends.stderr, self._printed)

    async def connect(self) -> None:
        self._pipes.open()
        await self._loop.create_unix_connection(lambda: self, sock=self._ends.socket)

    # work

    @property
    def is_idle(self) -> bool:
        return (
            self.is_warm
            and self.job is None
            and not self._condemned
            and not self.is_gone
            and not self._shared
        )

    @property
    def is_busy(self) -> bool:
        return self.job is not None or bool(self._shared)

    @property
    def takes_more(self) -> bool:
        """Executions of the revision that runs in it."""
        return not (self._condemned or self.is_gone or self.crowd.closed)

    def run(self, job: Job, frame: frames.Run | frames.Check) -> None:
        self.job = job
        self.executions += 1
        self._run = frame
        self._said_more = False
        self.revisions.add(frame.revision)
        self._send(frame)

    def run_beside(self, job: Job, frame: frames.Run) -> None:
        """Beside others of the same revision."""
        self.executions += 1
        self.crowd.add(job, frame)
        self.revisions.add(frame.revision)
        self.send(frame)

    def credit(self, execution: str, size: int) -> None:
        self._send(frames.Credit(execution, size))

    def ping(self) -> None:
        if not self.unanswered_pings:
            self.asked_at = self._loop.time()
        self.unanswered_pings += 1
        self._send(frames.Ping())

    @property
    def silent_seconds(self) -> float:
        """For how long it has not answered a ping."""
        return self._loop.time() - self.asked_at if self.unanswered_pings else 0.0

    def interrupt(self, execution: str) -> None:
        """Ask what runs to stop."""
        if self._shared:
            self.crowd.interrupt(execution)
        elif self.pid and not self.is_gone and self._run is not None:
            self._send(frames.Interrupt(self._run.id))
            self.signal()

    def signal(self) -> None:
        if self.pid and not self.is_gone:
            processes.send(self.pid, signal.SIGINT)

    def give_up(self, execution: str, why: str) -> None:
        """It was interrupted, and has not ended."""
        if self._shared:
            self.crowd.give_up(execution, why)
        else:
            self.kill(why)

    def kill(self, reason: str) -> None:
        """End it and everything below it. The first reason is the one that is told."""
        if self.is_gone or self._condemned:
            return
        self._condemned = reason
        self._kill_round(_KILL_ROUNDS)

    def _kill_round(self, rounds: int) -> None:
        # What is below dies first: after its parent's death it would have to be searched for.
        if self.is_gone or self._status is not None or not self.pid:
            return
        processes.send(self.pid, signal.SIGSTOP)
        if processes.kill_below(self.pid) and rounds:
            self._loop.call_later(_KILL_AGAIN, self._kill_round, rounds - 1)
        else:
            processes.send(self.pid, signal.SIGKILL)

    def send(self, frame: frames.Frame) -> None:
        """About one of many: whether it has been read, each says itself."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frames.encode(frame))

    def _send(self, frame: frames.Frame) -> None:
        self._said_more = self._run is not frame
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frames.encode(frame))
        elif not self._said_more:
            self._left_unread = True

    # what comes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._reader.feed(data):
                self._take(frames.decode_for_supervisor(body))
        except frames.OfAnother as error:
            self._by_another = True
            self._distrust(str(error))
        except frames.BadFrame as error:
            self._distrust(str(error))

    def _distrust(self, why: str) -> None:
        logs.event(logging.WARNING, "executor sent nonsense", executor=self.number, why=why)
        self.kill("protocol")
        if self._transport is not None:
            self._transport.abort()

    def _take(self, frame: frames.ToSupervisor) -> None:
        if self._shared and isinstance(frame, crowd.OF_ONE):
            self.crowd.take(frame)
        elif isinstance(frame, _ENDS):
            self._take_end(frame)
        elif isinstance(frame, _OF_ONE):
            if self.job is not None and self._is_current(frame.id):
                _tell(self.job, frame)
        elif isinstance(frame, frames.NeedCode):
            self._resend(frame)
        elif isinstance(frame, frames.Pong):
            self.unanswered_pings = 0
        elif isinstance(frame, frames.Unfit):
            self._left_unread = True
            self.kill(frame.reason)
        elif isinstance(frame, frames.Warm) and not self.is_warm:
            self.is_warm = True
            self.signals_confined = frame.signals_confined
            self.owner.warm(self)

    def _is_current(self, execution: str) -> bool:
        return self._run is not None and self._run.id == execution

    def _take_end(self, frame: frames.Done | frames.Checked) -> None:
        job, run = self.job, self._run
        if job is None or run is None or run.id != frame.id:
            raise frames.OfAnother("an end of what does not run")
        if isinstance(run, frames.Run) != isinstance(frame, frames.Done):
            raise frames.BadFrame("an end of another kind")
        self._pipes.drain()
        self.job = self._run = None
        self.unanswered_pings = 0
        self.replace = self.replace or frame.unfit or ""
        job.done(frame)
        self.become_free()

    def become_free(self) -> None:
        """Nothing runs in it any more."""
        if not self._condemned and not self.is_gone:
            self.owner.free(self)

    def drain(self) -> None:
        """Read what was printed before now."""
        self._pipes.drain()

    def _resend(self, frame: frames.NeedCode) -> None:
        if self.job is None or not isinstance(self._run, frames.Run) or self._run.id != frame.id:
            raise frames.OfAnother("asks for code of what does not run")
        code = self.job.code
        if code is None or self._run.code is not None:
            raise frames.BadFrame("asks for code that it was given")
        run = self._run
        self._run = msgspec.structs.replace(run, code=code)
        self._send(self._run)

    def _printed(self, stream: Stream, data: bytes) -> None:
        if self.job is not None:
            self.job.printed(stream, data)
        elif self._shared:
            self.crowd.printed(stream, data)

    # its end

    def connection_lost(self, exc: Exception | None) -> None:
        self._socket_ended = True
        if exc is not None:
            self._read_the_rest()
        # A socket that closes with unread bytes in it resets its peer, and takes no more of them.
        was_cut = isinstance(exc, ConnectionError) and not self._said_more
        self._left_unread = self._left_unread or was_cut
        if self._status is None and not self.is_gone:
            # A process that ends closes its socket first; one that lives on has lost its use.
            self._loop.call_later(LAST_WORDS, self.kill, CLOSED)
        self._end_when_known()

    def _read_the_rest(self) -> None:
        """What it had said when a write to it failed, which ends a transport at once."""
        with contextlib.suppress(OSError):
            for _ in range(_LAST_READS):
                data = self._ends.socket.recv(_READ, socket.MSG_DONTWAIT)
                if not data:
                    return
                self.data_received(data)

    def forked(self, pid: int) -> None:
        self.pid = pid
        if self._condemned:
            self._kill_round(_KILL_ROUNDS)

    def exited(self, status: int) -> None:
        """Its wait status, from the supervisor's ``Family``."""
        self._status = status
        self._end_when_known()

    def never_was(self) -> None:
        """It could not be forked."""
        if not self.pid:
            self._finish(Death(reason="not forked"))

    def _end_when_known(self) -> None:
        if self._status is None or self.is_gone:
            return
        if not self._socket_ended:
            # Something below it may still hold the socket; the family's sweep ends that.
            self._loop.call_later(LAST_WORDS, self._end_anyway)
            return
        self._finish(self._death(self._status))

    def _end_anyway(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _death(self, status: int) -> Death:
        reason = self._condemned
        unread = self._left_unread and self.job is not None
        if reason == CLOSED and not _was_killed(status):
            reason = ""  # it was about to end by itself, and slow
        if os.WIFEXITED(status):
            code = os.WEXITSTATUS(status)
            return Death(reason, exit_code=code, job_unread=unread, by_another=self._by_another)
        number = os.WTERMSIG(status)
        if number == signal.SIGKILL and not reason and self._memory_was_short():
            reason = "oom"
        name = _signal_name(number)
        return Death(reason, signal=name, job_unread=unread, by_another=self._by_another)

    def _finish(self, death: Death) -> None:
        if self.is_gone:
            return
        self.is_gone = True
        self._pipes.drain()
        self._pipes.close()
        if self._transport is not None:
            self._transport.abort()
        else:
            self._ends.socket.close()
        job, self.job = self.job, None
        if job is not None:
            job.lost(death)
        self.crowd.lost(death)
        self.owner.gone(self, death)


def _was_killed(status: int) -> bool:
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def _signal_name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def _tell(job: Job, frame: _Told) -> None:
    if isinstance(frame, frames.Chunk):
        job.chunk(frame.data)
    elif isinstance(frame, frames.Progress):
        job.progress(frame)
    elif isinstance(frame, frames.Kept):
        job.kept(frame)
    else:
        job.used(frame.usage)
