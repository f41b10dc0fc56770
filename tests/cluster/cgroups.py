"""The control groups of a bare node, on machines of version 1 (a tree for each controller) and 2.

Everything a node starts is in a group of its name, in every tree; so what a killed node left can
be found, ended and removed.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_GONE_SECONDS = 30.0
# What kubelet wants of version 2; io and hugetlb are not on every machine.
_WANTED = ("cpu", "cpuset", "io", "memory", "pids", "hugetlb")
_AS_MANY_PROCESSES = 8
"""Else a busy machine would give all pods of a node together what one process beside them gets."""
_WEIGHTS = {"cpu.shares": 1024, "cpu.weight": 100}
"""Of one process, by the files of version 1 and 2."""


def create(name: str) -> None:
    if _is_version_2(_ROOT):
        _hand_down(_ROOT)
    for tree in _trees():
        group = tree / name
        group.mkdir(exist_ok=True)
        for file, weight in _WEIGHTS.items():
            if (group / file).exists():
                (group / file).write_text(str(weight * _AS_MANY_PROCESSES))


def remove(pattern: str) -> None:
    """End whatever is in the groups of such names, and remove the groups."""
    until = time.monotonic() + _GONE_SECONDS
    while left := [pid for group in found(pattern) for pid in _processes(group)]:
        if time.monotonic() > until:
            raise RuntimeError(f"processes of {pattern} do not end: {left}")
        for pid in left:
            _kill(pid)
        time.sleep(0.05)
    for group in found(pattern):
        for folder, _, _ in os.walk(group, topdown=False):
            Path(folder).rmdir()


def found(pattern: str) -> list[Path]:
    return [group for tree in _every_tree() for group in tree.glob(pattern)]


def _trees() -> list[Path]:
    """Those that have controllers: a node's programs are put into a group in each."""
    if _is_version_2(_ROOT):
        return [_ROOT]
    return [tree for tree in _every_tree() if not _is_version_2(tree)]


def _every_tree() -> list[Path]:
    """Of version 2 too beside version 1: it has no controllers, but runc puts pods into it."""
    if _is_version_2(_ROOT):
        return [_ROOT]
    folders = [folder for folder in _ROOT.iterdir() if (folder / "cgroup.procs").exists()]
    return [folder for folder in folders if not folder.is_symlink()]


def _is_version_2(tree: Path) -> bool:
    return (tree / "cgroup.controllers").exists()


def _hand_down(root: Path) -> None:
    """Let groups below the root have controllers; where systemd runs, it has done so already."""
    there = (root / "cgroup.controllers").read_text().split()
    control = root / "cgroup.subtree_control"
    missing = set(_WANTED) & set(there) - set(control.read_text().split())
    try:
        for controller in sorted(missing):
            control.write_text(f"+{controller}")
    except OSError as refused:
        raise RuntimeError(
            f"{control} refuses {controller} ({refused.strerror}): in a container, first move its "
            "processes into a group below the root"
        ) from refused


def _processes(group: Path) -> Iterator[int]:
    for folder, _, _ in os.walk(group):
        try:
            yield from map(int, (Path(folder) / "cgroup.procs").read_text().split())
        except FileNotFoundError:
            continue


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
