"""All child processes of ``anypod up``: awaited by pid, and none left behind.

This process is the child subreaper: workers that the nursery forked twice are its children, and so
is whatever a dying worker leaves. A child that nobody expects is such a leftover, and is killed.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
SWEEP_SECONDS = 0.2


class Children:
    def __init__(self) -> None:
        """Raises OSError where the kernel has no subreapers."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")
        self._ended: dict[int, asyncio.Future[int]] = {}
        self._early: dict[int, int] = {}
        """Ends of children that nobody had expected yet."""
        self._being_born = 0

    def watch(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)

    def expect(self, pid: int) -> asyncio.Future[int]:
        """Resolved with the exit code when the child ends; negative for a signal."""
        future = asyncio.get_running_loop().create_future()
        if pid in self._early:
            future.set_result(self._early.pop(pid))
        else:
            self._ended[pid] = future
        return future

    @contextlib.contextmanager
    def birth(self) -> Iterator[None]:
        """While a child is made that has no pid yet, no unknown child is taken for a leftover."""
        self._being_born += 1
        try:
            yield
        finally:
            self._being_born -= 1

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            future = self._ended.pop(pid, None)
            if future is None:
                if self._being_born:
                    self._early[pid] = code
            elif not future.done():
                future.set_result(code)

    async def sweep(self) -> None:
        """For ever: kill what dead workers left."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.kill_unknown()

    def kill_unknown(self) -> bool:
        """Whether there was anything to kill."""
        if self._being_born:
            return False
        unknown = [pid for pid in _children() if pid not in self._ended]
        for pid in unknown:
            send(pid, signal.SIGKILL)
        return bool(unknown)

    async def kill_all(self) -> None:
        """Until there is no child left; for the end."""
        while True:
            pids = _children()
            if not pids:
                return
            for pid in pids:
                send(pid, signal.SIGKILL)
            self._reap()
            await asyncio.sleep(0.01)


def send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _children() -> list[int]:
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found += map(int, (task / "children").read_text().split())
    return found
