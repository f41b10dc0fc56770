"""The first process of a bare node: makes the node's mounts, then keeps its programs running.

Run as a file in fresh mount and PID namespaces, with the path of a ``Machine`` that was written as
JSON (machine.py). When this process ends, the kernel ends all that runs on the node.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# A program that ends at once must not keep the machine busy.
RESTART_SECONDS = 0.5


def main(description: Path) -> None:
    machine = json.loads(description.read_text())
    mount(machine)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logs = Path(machine["logs"])
    logs.mkdir(parents=True, exist_ok=True)
    pids = Path(machine["pids"])
    pids.mkdir(exist_ok=True)
    keep_running(machine["programs"], machine["environment"], logs, pids)


def mount(machine: dict[str, Any]) -> None:
    for target in machine["empty"]:
        call("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", target)
    for source, target in machine["bound"].items():
        call("mount", "--bind", source, target)


def keep_running(
    programs: dict[str, list[str]], environment: dict[str, str], logs: Path, pids: Path
) -> None:
    """Start what is not running; reap what has ended, orphans of the node too."""
    running: dict[str, int] = {}
    while True:
        for name in programs.keys() - running.keys():
            running[name] = start(programs[name], environment, logs / f"{name}.log")
            # What is killed on purpose is found by this file.
            (pids / name).write_text(str(running[name]))
        ended, _ = os.waitpid(-1, 0)
        for name in [name for name, pid in running.items() if pid == ended]:
            del running[name]
            time.sleep(RESTART_SECONDS)


def start(command: list[str], environment: dict[str, str], log: Path) -> int:
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    # Reaped above, with everything else.
    process.returncode = 0
    return process.pid


def call(*command: str) -> None:
    subprocess.run(command, check=True, timeout=30)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
