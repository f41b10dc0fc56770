"""One start or end of a cluster at a time, by a lock that ends with its holder however it dies."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.telling import step
from tests.cluster.waiting import wait_until

_SECONDS = 600


@contextmanager
def alone(name: str) -> Iterator[None]:
    """An abstract socket: the kernel gives its name to one process, and leaves no file behind."""
    with socket.socket(socket.AF_UNIX) as held:

        def taken() -> bool:
            try:
                held.bind(f"\0{name}")
            except OSError:
                return False
            return True

        if not taken():
            other = f"the other start or end of {name} is over"
            with step(f"waiting until {other}"):
                wait_until(taken, other, _SECONDS)
        yield
