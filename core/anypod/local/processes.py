"""Starting processes of local mode, with nothing in their environment that programs should not see.

``os.posix_spawn`` and no asyncio subprocess, because ``Children`` waits for all of them at once.
"""

import os
import sys
from collections.abc import Mapping, Sequence

_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "TZ", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")


def environment(host: Mapping[str, str]) -> dict[str, str]:
    """What of ours a child gets; workers take from it only what a container's would have."""
    return {name: host[name] for name in _KEPT if name in host}


def start(arguments: Sequence[str], *, inherit: Sequence[int] = (), stderr: int) -> int:
    """``python -P ARGUMENTS`` in a process group of its own, so that Ctrl-C reaches only us; its
    pid. The descriptors of ``inherit`` stay open in it under their numbers."""
    for descriptor in inherit:
        os.set_inheritable(descriptor, True)
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", *arguments],
            environment(os.environ),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, stderr, 1),
                (os.POSIX_SPAWN_DUP2, stderr, 2),
            ],
            setpgroup=0,
        )
    finally:
        for descriptor in inherit:
            os.set_inheritable(descriptor, False)
