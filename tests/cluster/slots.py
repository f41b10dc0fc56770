"""Which of the clusters side by side belongs to whom.

Slot 0 is `make cluster`'s. A run of the tests takes others for as long as it has clusters in them,
so that two runs on one machine never end each other's; when all are taken it waits for one. What a
run finds in a slot that nobody holds it ends, so no cluster that is to stay is made there.
"""

import os
import socket
from collections.abc import Iterator

from tests.cluster.addresses import SLOTS
from tests.cluster.telling import step
from tests.cluster.waiting import wait_until

USER = 0
KEPT = 1
"""Of a run that keeps its cluster, so that the next one finds it."""
OF_PEOPLE = (USER, KEPT)
"""Where a cluster stays that nobody holds: what is in another is taken for a killed run's."""
NAME = "anypod-cluster-slot"
"""Of the sockets that reserve slots: the kernel gives such a name to one process at a time."""
PATIENCE = 1800.0

_held: dict[int, int] = {}
"""The sockets' descriptors, by slot."""


def take(patience: float = PATIENCE) -> int:
    """A slot that no other run has, until it is given back or this process ends, however it does.

    Raises RuntimeError if none becomes free in so many seconds.
    """
    if (slot := _free()) is not None:
        return slot
    found: list[int] = []

    def is_found() -> bool:
        found.extend(each for each in (_free(),) if each is not None)
        return bool(found)

    taken = f"all {SLOTS} clusters that fit side by side are taken by runs of tests"
    try:
        with step(f"{taken}: waiting for one"):
            wait_until(is_found, "one is free", patience)
    except TimeoutError as late:
        raise RuntimeError(taken) from late
    return found[0]


def abandoned() -> Iterator[int]:
    """Each slot that no run has at the moment, held while it is looked at.

    What is in them was left by runs that were killed.
    """
    for slot in range(KEPT + 1, SLOTS):
        if _reserve(slot):
            try:
                yield slot
            finally:
                give_back(slot)


def give_back(slot: int) -> None:
    """Its cluster has ended. Nothing is done to a slot that was not taken here."""
    if slot in _held:
        os.close(_held.pop(slot))


def _free() -> int | None:
    return next((slot for slot in range(KEPT + 1, SLOTS) if _reserve(slot)), None)


def _reserve(slot: int) -> bool:
    reservation = socket.socket(socket.AF_UNIX)
    try:
        # An abstract name: no file is left behind.
        reservation.bind(f"\0{NAME}-{slot}")
    except OSError:
        reservation.close()
        return False
    _held[slot] = reservation.detach()
    return True
