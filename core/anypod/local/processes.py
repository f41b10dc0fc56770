"""What the launcher needs of Linux: to adopt orphans, to find them, and to end them."""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36

_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")


def clean_environment(host: Mapping[str, str]) -> dict[str, str]:
    """What our own processes get; whatever else is in the user's shell is nobody's business."""
    return {name: host[name] for name in _KEPT if name in host}


def adopt_orphans() -> None:
    """Become the child subreaper: descendants whose parent dies become our children."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def hide_memory() -> None:
    """No process of the same user may read our memory or environment."""
    _prctl(_PR_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _parent_and_state(pid: int) -> tuple[int, str] | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    state, parent = stat[stat.rindex(b")") + 2 :].split()[:2]
    return int(parent), state.decode()


def family_tree() -> dict[int, list[int]]:
    """Living children by parent, for everybody on the machine that we can see."""
    tree: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            pid = int(entry.name)
            about = _parent_and_state(pid)
            if about is not None and about[1] not in {"Z", "X"}:
                tree.setdefault(about[0], []).append(pid)
    return tree


def below(
    pid: int, tree: Mapping[int, list[int]], spare: Collection[int] = frozenset()
) -> list[int]:
    """Everybody below a process, parents before children, but for whom to spare and those below."""
    found: list[int] = []
    frontier = [pid]
    while frontier:
        children = [child for parent in frontier for child in tree.get(parent, ())]
        frontier = [child for child in children if child not in spare]
        found.extend(frontier)
    return found


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process that may be gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def kill_all(pids: list[int]) -> None:
    """Stopped before any is killed, so that they do not multiply meanwhile."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            send(pid, number)


def kill_below_until_none(pid: int, seconds: float, spare: Collection[int]) -> bool:
    """Kill everybody below a process; whether all are gone. Blocks, and reaps."""
    end = time.monotonic() + seconds
    while alive := below(pid, family_tree(), spare):
        if time.monotonic() > end:
            return False
        kill_all(alive)
        for _ in reap():
            pass
        time.sleep(0.002)
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


def how_it_ended(status: int) -> str:
    """A wait status for people."""
    if os.WIFSIGNALED(status):
        return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with status {os.waitstatus_to_exitcode(status)}"
