"""What an execution may change in its process, and how that is put back.

In a shared executor everything that ``settings`` lists is as before when the next execution
begins. In a session's executor the working directory, the environment, the locale and so on stay,
as in a notebook; signal handlers, timers, fds 0 to 2 and the std streams are put back there too.
"""

import importlib
import random
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from anypod_worker.runtime import calls, stdio
from anypod_worker.runtime.settings import Settings

_raw = importlib.import_module("_signal")
_getsignal: Callable[[int], Any] = _raw.getsignal
_sigmask: Callable[[int, Any], set[int]] = _raw.pthread_sigmask
"""Without the enums of ``signal``, which cost many times as much."""

_setitimer: Callable[[int, float], object] = _raw.setitimer
_TIMERS = tuple(map(int, (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)))


def prepare() -> None:
    """Once after the fork of an executor: random numbers that no sibling has, std streams over
    its own fds, and a ``__main__`` that is empty instead of ours (what ``multiprocessing`` starts
    would import it). What only calls tell (``calls``) is noticed from here on."""
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
    stdio.open_streams()
    sys.modules["__main__"] = ModuleType("__main__")
    calls.notice()


@dataclass(frozen=True)
class _Signals:
    """The interrupt's handler, the mask, and no timer that could fire in the next execution."""

    interrupt: Any
    mask: frozenset[int]

    @classmethod
    def capture(cls) -> "_Signals":
        return cls(_getsignal(signal.SIGINT), frozenset(_sigmask(signal.SIG_BLOCK, ())))

    def restore(self) -> None:
        for timer in _TIMERS:
            _setitimer(timer, 0)
        calls.dump_no_traceback()
        if _getsignal(signal.SIGINT) is not self.interrupt:
            signal.signal(signal.SIGINT, self.interrupt)
        signal.set_wakeup_fd(-1)
        if _sigmask(signal.SIG_BLOCK, ()) != self.mask:
            _sigmask(signal.SIG_SETMASK, self.mask)


@dataclass(frozen=True)
class Baseline:
    """How the process was before any program ran in it."""

    settings: Settings
    signals: _Signals
    streams: stdio.StandardStreams

    @classmethod
    def capture(cls) -> "Baseline":
        """After ``interrupts.install`` and ``prepare``."""
        return cls(Settings.capture(), _Signals.capture(), stdio.StandardStreams.capture())

    def is_lost(self) -> bool:
        """Whether the process cannot be made clean, and something of the execution goes on in it
        that could print into the next."""
        return calls.has_audit_hook()

    def restore(self) -> bool:
        """After an execution in a shared executor; False if the process cannot be made clean."""
        if self.is_lost():
            return False
        self.signals.restore()
        complete = self.settings.restore()
        return self.streams.restore() and complete

    def restore_session(self) -> bool:
        """After an execution of a session: only signals, fds 0 to 2 and the std streams."""
        self.signals.restore()
        complete = self.settings.restore_handlers()
        return self.streams.restore() and complete
