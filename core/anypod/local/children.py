"""The launcher's children: whom it knows, who has ended, and who is an orphan to be ended.

The launcher is the child subreaper of everything below it, so what a killed worker leaves behind
becomes its child. A child that it does not know, while no worker is being forked, is such a one.
"""

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from subprocess import DEVNULL, Popen

from anypod.local import processes

SWEEP_SECONDS = (0.01, 0.1, 1.0)
"""After somebody has died; its own death signal takes the kernel a moment to spread."""


class Children:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._known: dict[int, asyncio.Future[int]] = {}
        self._forks = 0
        self._not_ours = set(processes.family_tree().get(os.getpid(), ()))
        """What a shell had started before it became us."""
        self._unclaimed: dict[int, int] = {}
        """Statuses of children that ended before anybody could know them."""

    def watch(self) -> None:
        """Begin to reap; the loop must run in the main thread."""
        processes.adopt_orphans()
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)

    def start(
        self, argv: Sequence[str], *, keep: Sequence[int], stderr: int, own_session: bool = True
    ) -> int:
        """A child that the terminal's signals do not reach, for they are meant for us: one in a
        session of its own, or one that makes it itself and until then ignores the interrupt."""
        process = Popen(  # noqa: S603 - our own modules
            argv,
            stdin=DEVNULL,
            stdout=stderr,
            stderr=stderr,
            env=processes.clean_environment(os.environ),
            pass_fds=keep,
            start_new_session=own_session,
            preexec_fn=None if own_session else _ignore_interrupt,
        )
        process.returncode = 0  # we reap it ourselves
        self.expect(process.pid)
        return process.pid

    def expect(self, pid: int) -> None:
        """Know a child; it may have ended already if it was made within ``forking``."""
        self._known[pid] = self._loop.create_future()
        if pid in self._unclaimed:
            self._known[pid].set_result(self._unclaimed.pop(pid))

    async def ended(self, pid: int) -> int:
        """Waits for the end of a known child; its wait status."""
        return await asyncio.shield(self._known[pid])

    def is_alive(self, pid: int) -> bool:
        return pid in self._known and not self._known[pid].done()

    async def ended_within(self, pid: int, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self.ended(pid)
        except TimeoutError:
            return False
        return True

    def forget(self, pid: int) -> None:
        """Its end has been seen; its number may come again."""
        self._known.pop(pid, None)

    @contextmanager
    def forking(self) -> Iterator[None]:
        """While a child is being made that we do not know yet."""
        self._forks += 1
        try:
            yield
        finally:
            self._forks -= 1
            if not self._forks:
                self._unclaimed.clear()

    def _reap(self) -> None:
        for pid, status in processes.reap():
            future = self._known.get(pid)
            if future is not None and not future.done():
                future.set_result(status)
            elif self._forks:
                self._unclaimed[pid] = status
        for seconds in SWEEP_SECONDS:
            self._loop.call_later(seconds, self.sweep)

    def sweep(self) -> None:
        """End orphans with everybody below them."""
        if self._forks:
            self._loop.call_later(SWEEP_SECONDS[-1], self.sweep)
            return
        try:
            tree = processes.family_tree()
        except OSError:  # no file can be opened just now
            self._loop.call_later(SWEEP_SECONDS[-1], self.sweep)
            return
        for pid in tree.get(os.getpid(), ()):
            if pid not in self._not_ours and not self.is_alive(pid):
                processes.kill_all([pid, *processes.below(pid, tree)])

    def kill_all(self, seconds: float) -> bool:
        """Everybody below us, at once; whether all are gone."""
        self._loop.remove_signal_handler(signal.SIGCHLD)
        return processes.kill_below_until_none(os.getpid(), seconds, spare=self._not_ours)


def _ignore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
