"""What the system is told of both clients' connections.

A machine that dies says no goodbye: without this a call that waits for its answer would learn of
it at its own deadline, and one that is being sent after a quarter of an hour.
"""

import socket
from collections.abc import Sequence

PROBE_AFTER_SECONDS = 5
"""Of silence. What answers a probe is the other machine's system, however long a program runs."""
PROBE_EVERY_SECONDS = 5
PROBES = 2
"""Without an answer, and the connection is broken."""

Option = tuple[int, int, int]


def options() -> list[Option]:
    """For ``setsockopt``; those that this system knows."""
    wanted = {
        "TCP_KEEPIDLE": PROBE_AFTER_SECONDS,
        "TCP_KEEPINTVL": PROBE_EVERY_SECONDS,
        "TCP_KEEPCNT": PROBES,
        "TCP_USER_TIMEOUT": 1000 * (PROBE_AFTER_SECONDS + PROBE_EVERY_SECONDS * PROBES),
    }
    known = [(n, value) for n, value in wanted.items() if hasattr(socket, n)]
    return [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        *((socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in known),
    ]


def make(address: Sequence[object]) -> socket.socket:
    """For one that ``getaddrinfo`` has found."""
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)  # type: ignore[arg-type]
    for option in options():
        made.setsockopt(*option)
    return made
