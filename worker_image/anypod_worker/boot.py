"""From a clean interpreter to a running worker, in the order that keeps secrets out of programs.

The zygote is forked before there is a loop, a thread or the link's secret, and is given the
configuration by its socket. While it imports what programs need, the supervisor imports what it
needs itself. A container's worker and a nursery's worker differ only in who makes the process.
"""

import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from anypod.wire.config import WorkerConfig
from anypod_worker import kernel, zygote

PARENT_DIED = signal.SIGUSR1
STOPS = frozenset({signal.SIGTERM, signal.SIGINT})
"""Held back until there is a loop that can stop well."""


@dataclass(frozen=True)
class Told:
    """What a worker learns once its zygote exists."""

    config: WorkerConfig
    token: bytes
    lm_keys: Mapping[str, str] = field(default_factory=dict)
    """Of the pool's LMs that have one, by the LM's name."""
    listener: socket.socket | None = None
    """Already listening; else the supervisor listens where the configuration says."""
    parent: int = 0
    """A pid whose death ends the worker at once; 0 when none does."""


def run(learn: Callable[[], Told], inherited: list[int]) -> int:
    """Be a worker until it is told to stop; the exit status. ``inherited`` is not the zygote's."""
    began = time.monotonic()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    zygote_pid, control = _fork_zygote(inherited)
    told = learn()
    kernel.hide_memory()
    kernel.adopt_orphans()
    kernel.allow_many_files()
    kernel.name_process("anypod-worker")
    control.send(zygote.encode(zygote.Configure(told.config, os.getpid())))
    # What is made meanwhile stays; looking through it for garbage would take as long as some of it.
    gc.disable()
    from anypod_worker import supervisor

    gc.enable()
    return supervisor.run(told, zygote_pid, control, began)


def _fork_zygote(inherited: list[int]) -> tuple[int, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        ours.close()
        for descriptor in inherited:
            os.close(descriptor)
        zygote.main(theirs)
    theirs.close()
    return pid, ours


def follow_parent(parent: int) -> None:
    """Get PARENT_DIED when the parent dies; exits if it has died already."""
    kernel.die_with_parent(PARENT_DIED)
    if os.getppid() != parent:
        sys.exit("the worker's parent is gone")
