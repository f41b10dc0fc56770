"""How a fork of the zygote becomes an executor: one process that can harm itself only."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from anypod.wire.config import WorkerConfig
from anypod_worker import kernel, processes
from anypod_worker.runtime import containment, interrupts


@dataclass(frozen=True)
class Start:
    """What an executor is forked with."""

    config: WorkerConfig
    supervisor: int
    directory: str
    end: int
    """Descriptor of its end of the socket pair."""
    stdout: int
    stderr: int


def confine(start: Start) -> bool:
    """Raises ParentGone, OSError. Returns whether its signals stay below it."""
    processes.wait_for_parent(start.supervisor)
    kernel.die_with_parent(signal.SIGKILL)
    if os.getppid() != start.supervisor:
        raise processes.ParentGone
    kernel.adopt_orphans()
    kernel.name_process("anypod-executor")
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _connect_output(start)
    kernel.be_killed_first()
    kernel.yield_to_others()
    kernel.limit_resources(
        data_bytes=start.config.limits.memory_bytes + _data_bytes(),
        open_files=start.config.limits.open_files,
    )
    kernel.hide_memory()
    _enter_directory(Path(start.directory))
    interrupts.install()
    containment.prepare()
    kernel.give_up_capabilities()
    return kernel.confine_signals()


def _connect_output(start: Start) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(start.stdout, 1)
    os.dup2(start.stderr, 2)
    os.close(start.stdout)
    os.close(start.stderr)


def _data_bytes() -> int:
    """What the preload has taken already is not the program's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def _enter_directory(directory: Path) -> None:
    temporary = directory / "tmp"
    temporary.mkdir()
    os.environ["TMPDIR"] = str(temporary)
    os.chdir(temporary)
