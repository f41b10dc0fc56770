"""Which of the clusters side by side belongs to whom.

Slot 0 is `make cluster`'s. A run of the tests takes others for as long as it lives, so that two
runs on one machine never end each other's clusters.
"""

import socket

from tests.cluster.addresses import SLOTS

USER = 0
KEPT = 1
"""Of a run that keeps its cluster, so that the next one finds it."""

_held: dict[int, int] = {}
"""The sockets that reserve them: open until the process ends, and closed by nobody."""
_unused: set[int] = set()


def take() -> int:
    """A slot that no other run has; it is this process's until this ends, however it does."""
    if _unused:
        return _unused.pop()
    for slot in range(KEPT + 1, SLOTS):
        reservation = socket.socket(socket.AF_UNIX)
        try:
            # An abstract name: no file is left behind.
            reservation.bind(f"\0anypod-cluster-slot-{slot}")
        except OSError:
            reservation.close()
        else:
            _held[slot] = reservation.detach()
            return slot
    raise RuntimeError(f"all {SLOTS} clusters that fit side by side are taken by runs of tests")


def give_back(slot: int) -> None:
    """To be taken again by this process, whose it stays. Any slot may be given."""
    if slot in _held:
        _unused.add(slot)
