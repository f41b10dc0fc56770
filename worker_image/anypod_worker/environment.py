"""The environment of a worker's processes: what the pool declares, and four names more.

The host's environment holds secrets of whoever started the worker. So the worker executes itself
anew with a clean one before anything is forked: what is not there cannot be read from /proc.
"""

import os
import sys
from collections.abc import Mapping

KEPT = ("PATH", "HOME", "LANG", "TMPDIR")
_DEFAULTS = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/", "LANG": "C.UTF-8"}


def clean(host: Mapping[str, str], declared: Mapping[str, str]) -> dict[str, str]:
    """The pool's variables over the kept ones of the host."""
    kept = {name: host[name] for name in KEPT if name in host}
    return {**_DEFAULTS, **kept, **declared}


def enter(declared: Mapping[str, str]) -> None:
    """Make this process's environment the clean one, for one that was forked and not executed."""
    wanted = clean(os.environ, declared)
    os.environ.clear()
    os.environ.update(wanted)
    for folder in reversed(declared.get("PYTHONPATH", "").split(os.pathsep)):
        if folder and folder not in sys.path:
            sys.path.insert(0, folder)
