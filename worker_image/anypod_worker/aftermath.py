"""What an execution left behind of its process: children, and open files.

What the program changed inside the interpreter, ``anypod_worker.runtime`` puts back.
"""

import contextlib
import os
import sys

from anypod_worker import processes

_END_CHILDREN_SECONDS = 2.0
_ROUNDS = 3


def flush_output() -> None:
    """Write out what the program printed; it may have closed or replaced the streams."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def end_children() -> bool:
    """Kill what descends from this process; whether all are gone.

    Orphans are its children too, for an executor is a child subreaper.
    """
    for _ in range(_ROUNDS):
        if _reap_until_alive():
            return True
        processes.kill_below_until_none(os.getpid(), _END_CHILDREN_SECONDS)
    return _reap_until_alive()


def _reap_until_alive() -> bool:
    """Whether there is no child (any more)."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False


def is_short_of_files(limit: int) -> bool:
    """Whether half the descriptors are in use, by the lowest that is free."""
    try:
        number = os.dup(0)
    except OSError:
        return True
    os.close(number)
    return number > limit // 2
