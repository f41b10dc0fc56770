"""SIGTERM and SIGHUP end a command as Ctrl-C does: what it has to say before, it can say."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def endings_raised() -> Iterator[None]:
    """As SystemExit, once: ``timeout`` sends its signal twice, and the second one would cut off
    what the first one has begun. Who ignores a signal, as ``nohup`` does, goes on to."""
    raised = [one for one in _SIGNALS if signal.getsignal(one) is signal.SIG_DFL]

    def end(number: int, frame: FrameType | None) -> None:
        for one in raised:
            signal.signal(one, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for one in raised:
        signal.signal(one, end)
    try:
        yield
    finally:
        for one in raised:
            signal.signal(one, signal.SIG_DFL)
