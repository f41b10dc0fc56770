"""What is left of a bare cluster, and its end: found by name alone, whatever way it came about.

No file of the cluster's is needed, so that one whose start was killed half-way ends like any other.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.cluster import cgroups, commands, network
from tests.cluster.addresses import OF_EVERY_CLUSTER, Addresses
from tests.cluster.node import MOUNT_POINTS
from tests.cluster.waiting import wait_until

_NAMESPACES = Path("/run/netns")
_SECONDS = 30
Identity = tuple[int, int]


def namespaces(plan: Addresses) -> list[Path]:
    return sorted(_NAMESPACES.glob(f"{plan.prefix}*"))


def remove(plan: Addresses) -> None:
    """End every process of the cluster, then take away what they lived in."""
    homes = {_identity(file) for file in namespaces(plan)}
    # By the names alone can the processes be found, if this is killed: so they end first.
    wait_until(lambda: not _end(homes), "the nodes' processes have ended", _SECONDS)
    for file in namespaces(plan):
        commands.run("ip", "netns", "delete", file.name, seconds=_SECONDS)
    # And once more, what was about to enter one while it still had its name.
    wait_until(lambda: not _end(homes), "the nodes' last processes have ended", _SECONDS)
    cgroups.remove(f"{plan.prefix}*")
    network.disconnect(plan)
    if any(_NAMESPACES.glob(OF_EVERY_CLUSTER)):
        return  # what is mounted there in another cluster's nodes would go with the folders
    for folder in MOUNT_POINTS:
        with suppress(OSError):  # another program may have it
            folder.rmdir()


def _end(homes: set[Identity]) -> list[int]:
    """Kill what is in these network namespaces; returns what was found."""
    found = list(_inhabitants(homes))
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found


def _inhabitants(homes: set[Identity]) -> Iterator[int]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if _identity(process / "ns/net") in homes:
                yield int(process.name)


def _identity(file: Path) -> Identity:
    seen = file.stat()
    return seen.st_dev, seen.st_ino
