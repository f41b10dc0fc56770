"""How far a program is: ``anypod.progress(done, total, message)``, for whoever follows its job.

Where nobody follows, in a run that is waited for or outside AnyPod, it does nothing.
"""

import math
import os
import time
from collections.abc import Callable
from contextvars import ContextVar

MOST_OFTEN_SECONDS = 0.1

Listener = Callable[[float, float | None, str], None]
"""Cuts the message to its bound."""

_listener: Listener | None = None
_process = 0
_last: ContextVar[float] = ContextVar("anypod_progress", default=0.0)
"""When it was last told: of each execution, of which several may run in one process."""


def progress(done: float, total: float | None = None, message: str = "") -> None:
    """Say that ``done`` of ``total`` is done. It may be called as often as one likes: what comes
    within a tenth of a second of the last is dropped, unless all is done.

    Raises ValueError for what is no finite number.
    """
    done, total = float(done), None if total is None else float(total)
    if not math.isfinite(done) or not (total is None or math.isfinite(total)):
        raise ValueError("progress is told in finite numbers")
    if _listener is None or os.getpid() != _process:
        return
    now = time.monotonic()
    if now - _last.get() >= MOST_OFTEN_SECONDS or done == total:
        _last.set(now)
        text = str(message).encode(errors="replace").decode()
        _listener(done, total, text)


def listen(listener: Listener | None) -> None:
    """For the executor: who hears what follows, in this process."""
    global _listener, _process
    _listener, _process = listener, os.getpid()
    _last.set(0.0)
