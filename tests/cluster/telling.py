"""Saying on the terminal what is being done, once it has taken a second."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SILENT_SECONDS = 1.0


@contextmanager
def step(what: str) -> Iterator[None]:
    """Whatever the block does is called ``what``; nothing is said of what is done at once."""
    began = time.monotonic()
    soon = threading.Timer(SILENT_SECONDS, _say, [f"{what} ..."])
    soon.daemon = True
    soon.start()
    try:
        yield
    finally:
        soon.cancel()
        soon.join()  # it may be saying so at this moment
    seconds = time.monotonic() - began
    if seconds >= SILENT_SECONDS:
        _say(f"{what}: {seconds:.1f} s")


def _say(line: str) -> None:
    # What a verb prints as its answer is on stdout, for scripts.
    print(line, file=sys.stderr, flush=True)
