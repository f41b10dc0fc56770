"""The supervisor's children: whom it knows, whom it must end, and who has ended.

The supervisor is the child subreaper of everything below it. A child that it does not know is what
a dead executor left behind, and is killed with everything below it.
"""

import asyncio
import os
import signal
from collections.abc import Callable

from anypod_worker import processes

_AGAIN = 0.005


class Family:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        learn_pids: Callable[[], None],
        is_forking: Callable[[], bool],
    ) -> None:
        """``learn_pids`` reads what the zygote has said of new executors, without waiting;
        ``is_forking``: whether one has been asked for and its pid is not known yet."""
        self._loop = loop
        self._learn_pids = learn_pids
        self._is_forking = is_forking
        self._known: dict[int, Callable[[int], None]] = {}
        self._unclaimed: dict[int, int] = {}
        """Statuses of children that ended before they were known."""
        self._sweeping: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Begin to reap; the loop must run in the main thread."""
        signal.signal(signal.SIGCHLD, lambda *_: self._loop.call_soon_threadsafe(self.reap))

    def unwatch(self) -> None:
        """Before the loop closes."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def expect(self, pid: int, on_exit: Callable[[int], None]) -> None:
        """Know a child; ``on_exit`` gets its wait status, also if it has ended already."""
        status = self._unclaimed.pop(pid, None)
        if status is None:
            self._known[pid] = on_exit
        else:
            self._loop.call_soon(on_exit, status)

    def reap(self) -> None:
        for pid, status in processes.reap():
            on_exit = self._known.pop(pid, None)
            if on_exit is not None:
                on_exit(status)
            elif self._is_forking():
                self._unclaimed[pid] = status
        if not self._is_forking():
            self._unclaimed.clear()  # a pid may come again

    def sweep(self) -> None:
        """Kill strangers, again and again until there is none."""
        self._sweeping = None
        if self.kill_strangers():
            self.sweep_soon()

    def sweep_soon(self) -> None:
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(_AGAIN, self.sweep)

    def kill_strangers(self) -> bool:
        """One round; whether there was anybody alive."""
        present = processes.children(os.getpid())
        self._learn_pids()  # whoever was present is known after this, or is a stranger
        alive = [pid for pid in present if pid not in self._known and processes.is_alive(pid)]
        for pid in alive:
            processes.send(pid, signal.SIGSTOP)
            processes.kill_below(pid)
            processes.send(pid, signal.SIGKILL)
        return bool(alive)
