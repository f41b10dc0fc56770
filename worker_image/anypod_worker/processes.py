"""Who descends from whom, by /proc, and how to end a whole tree.

Used by the supervisor on its executors, and by an executor on what a program left behind. Killing
repeats until a look finds nobody alive, because what is being killed may be forking.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep  # by name: a program may replace them

_PAGE = os.sysconf("SC_PAGE_SIZE")


def read(path: str) -> bytes | None:
    """The content of a file of /proc; None when its process is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        content = b""
        while piece := os.read(descriptor, 1 << 16):  # the kernel may give a page at a time
            content += piece
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return content


def _tasks(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - names are all that is needed
    except OSError:
        return []


def _parent_and_state(pid: int) -> tuple[int, bytes] | None:
    stat = read(f"/proc/{pid}/stat")
    if not stat:
        return None
    state, parent = stat[stat.rindex(b")") + 2 :].split()[:2]
    return int(parent), state


def _children_by_scan(pid: int) -> list[int]:
    """For kernels without /proc/…/children."""
    everybody = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [child for child in everybody if (_parent_and_state(child) or (0,))[0] == pid]


class ParentGone(Exception):
    """Who should have become this process's parent has ended."""


_HAS_CHILDREN_FILES = Path("/proc/self/task", str(os.getpid()), "children").exists()


def children(pid: int) -> list[int]:
    """Direct children of all threads of a process, zombies too."""
    if not _HAS_CHILDREN_FILES:
        return _children_by_scan(pid)
    found: list[int] = []
    for task in _tasks(pid):
        listed = read(f"/proc/{pid}/task/{task}/children")
        if listed:
            found.extend(int(child) for child in listed.split())
    return found


def descendants(pid: int) -> list[int]:
    """Everybody below a process, parents before children."""
    found: list[int] = []
    frontier = [pid]
    while frontier:
        frontier = [child for parent in frontier for child in children(parent)]
        found.extend(frontier)
    return found


def is_alive(pid: int) -> bool:
    """Whether a process runs or could; a zombie does not."""
    about = _parent_and_state(pid)
    return about is not None and about[1] not in {b"Z", b"X"}


def wait_for_parent(parent: int, seconds: float = 10.0) -> None:
    """Until a process that was forked twice is the child of ``parent``. Raises ParentGone."""
    end = monotonic() + seconds
    while os.getppid() != parent:
        if monotonic() > end:
            raise ParentGone
        sleep(0.0002)


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process that may be gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def kill_below(pid: int) -> bool:
    """One round against everybody below a process; False when there was nobody alive.

    All are stopped before any is killed, so that they do not multiply meanwhile.
    """
    victims = [victim for victim in descendants(pid) if is_alive(victim)]
    for victim in victims:
        send(victim, signal.SIGSTOP)
    for victim in victims:
        send(victim, signal.SIGKILL)
    return bool(victims)


def kill_below_until_none(pid: int, seconds: float) -> bool:
    """Rounds of ``kill_below`` for at most this long; whether all are gone. Blocks."""
    end = monotonic() + seconds
    while kill_below(pid):
        if monotonic() > end:
            return False
        sleep(0.001)
    return True


def reap() -> Iterator[tuple[int, int]]:
    """Pids and wait statuses of children that have ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status
