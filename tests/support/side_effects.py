"""Programs that write down what they do, and what their log says: the truth that answers must fit.

Each line is in the log before the program goes on, and none is lost, whoever is killed. Where the
programs are processes of one machine, it is a file, and a lock on a byte of it, which the kernel
takes from a process that dies, shows whether two runs of one name were ever at it at once. Where
they are in pods, another pod keeps it, which is not killed (``witness``), and the lock is a
connection.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

TO_A_FILE = """
import fcntl, os, time
def main(log: str, name: str, number: int, seconds: float = 0) -> str:
    run = os.urandom(8).hex()
    out = os.open(log, os.O_RDWR | os.O_APPEND)
    try:
        try:
            fcntl.lockf(out, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except BlockingIOError:
            os.write(out, f"beside {name} {run}\\n".encode())
        os.write(out, f"begin {name} {run}\\n".encode())
        time.sleep(seconds)
        os.write(out, f"end {name} {run}\\n".encode())
    finally:
        os.close(out)
    return run
"""
"""``number`` is another one for each name. Each line is one write that only ever appends."""
TO_A_WITNESS = """
import os, socket, time
def reach(host, port):
    until = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection((host, port), 60)
        except OSError:  # policies take a moment to hold for a new pod
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
def main(log: str, name: str, number: int, seconds: float = 0) -> str:
    run = os.urandom(8).hex()
    host, _, port = log.rpartition(":")
    with reach(host, int(port)) as way, way.makefile("rwb") as lines:
        def tell(what):
            lines.write(f"{what} {name} {run}\\n".encode())
            lines.flush()
            assert lines.readline(), "the witness has gone"
        tell("begin")
        time.sleep(seconds)
        tell("end")
    return run
"""


@dataclass
class SideEffects:
    """By name, the runs that began and those that came to their end."""

    began: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    ended: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    beside: list[str] = field(default_factory=list)
    """Names of which two runs were at it at once."""


def read(lines: Iterable[str]) -> SideEffects:
    found = SideEffects()
    for line in lines:
        what, name, run = line.split(" ")
        match what:
            case "begin":
                found.began[name].append(run)
            case "end":
                found.ended[name].append(run)
            case "beside":
                found.beside.append(name)
            case _:
                raise ValueError(line)
    return found
