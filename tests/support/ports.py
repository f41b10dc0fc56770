"""Ports that stay free from when they are found until they are listened to by another process.

The kernel gives a port that was looked at and let go to whoever asks next, and runs of tests ask
all the time. These are below those that it gives away, and each process has some to itself.
"""

import itertools
import socket
from collections.abc import Iterator
from functools import cache

_FIRST = 20000
_EACH = 100
_BLOCKS = 100


def free_port() -> int:
    """Of loopback; nobody listens to it, and no other process of tests gets it."""
    return next(port for port in _mine() if _is_free(port))


@cache
def _mine() -> Iterator[int]:
    """Round and round: a port comes again when all others have been given away."""
    return itertools.cycle(_block())


def _block() -> range:
    for number in range(_BLOCKS):
        reservation = socket.socket(socket.AF_UNIX)
        try:
            # An abstract name: the kernel frees it when this process ends, however it does.
            reservation.bind(f"\0anypod-test-ports-{number}")
        except OSError:
            reservation.close()
        else:
            reservation.detach()
            first = _FIRST + number * _EACH
            return range(first, first + _EACH)
    raise RuntimeError(f"{_BLOCKS} processes of tests run on this machine: too many for its ports")


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        # A server may have it whose connections are still being closed.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
