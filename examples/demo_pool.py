"""A local pool as a person would start it, and a look at its processes; for ``demo.py``."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

WORKERS = 4
EXECUTORS = 2


@contextmanager
def local_pool(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """``anypod up`` with a log in its folder; the URL of its gateway, and the process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("anypod")), "up"]
    command += ["--workers", str(WORKERS), "--executors", str(EXECUTORS)]
    command += ["--port", str(port), "--dir", str(folder / ".anypod")]
    with (folder / "up.log").open("wb") as log:
        up = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}", up
    finally:
        if up.poll() is None:
            up.kill()
            up.wait()


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for one in found:
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:
            continue  # it has just ended
    return found


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True
