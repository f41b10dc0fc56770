"""Waiting for what another process does, with a deadline that says what did not come."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    until = time.monotonic() + seconds
    pause = 0.02
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"after {seconds:g} s still not so: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.5)
