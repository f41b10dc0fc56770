"""What an execution left behind of its process: children, and open files.

What the program changed inside the interpreter, ``anypod_worker.runtime`` puts back.
"""

import os

from anypod_worker import kernel, processes

_END_CHILDREN_SECONDS = 2.0
_ROUNDS = 3


def end_children() -> bool:
    """Kill what descends from this process; whether all are gone.

    Orphans are its children too, for an executor is a child subreaper.
    """
    if not kernel.has_children():
        return True
    for _ in range(_ROUNDS):
        processes.kill_below_until_none(os.getpid(), _END_CHILDREN_SECONDS)
        for _ended in processes.reap():
            pass
        if not kernel.has_children():
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
