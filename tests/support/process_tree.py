"""What is below a process, seen from outside, for tests that say nothing is left over."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    name: str
    state: str


def _all() -> list[Process]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        name, _, rest = stat.partition("(")[2].rpartition(")")
        state, parent = rest.split()[:2]
        found.append(Process(int(entry.name), int(parent), name, state))
    return found


def below(pid: int) -> list[Process]:
    """Living processes below it; zombies are not living."""
    everybody = _all()
    found: list[Process] = []
    frontier = {pid}
    while frontier:
        level = [p for p in everybody if p.parent in frontier]
        found += level
        frontier = {p.pid for p in level}
    return [p for p in found if p.state not in "ZX"]


def named(pid: int, name: str) -> list[int]:
    return [p.pid for p in below(pid) if p.name == name]


def is_alive(pid: int) -> bool:
    return any(p.pid == pid and p.state not in "ZX" for p in _all())


async def until_gone(pids: list[int], seconds: float = 60.0) -> list[int]:
    """Who of them is still there at the end of that time."""
    end = time.monotonic() + seconds
    while (left := [pid for pid in pids if is_alive(pid)]) and time.monotonic() < end:
        await asyncio.sleep(0.02)
    return left


async def until_names_are(pid: int, wanted: list[str], seconds: float = 10.0) -> list[str]:
    """The names of what is below a process, as soon as they are the wanted ones."""
    end = time.monotonic() + seconds
    while True:
        names = sorted(process.name for process in below(pid))
        if names == sorted(wanted) or time.monotonic() > end:
            return names
        await asyncio.sleep(0.02)
