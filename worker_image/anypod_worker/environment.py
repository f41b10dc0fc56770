"""The environment of a worker's processes: what the pool declares, and four names more.

The host's environment holds secrets of whoever started the worker. So the worker executes itself
anew with a clean one before anything is forked: what is not there cannot be read from /proc.
"""

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from anypod.wire import pod

if TYPE_CHECKING:  # stage 0 needs no decoder
    from anypod.wire.config import WorkerConfig

KEPT = ("PATH", "HOME", "LANG", "TMPDIR")
_DEFAULTS = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/", "LANG": "C.UTF-8"}


def of_container(host: Mapping[str, str]) -> dict[str, str]:
    """What a container's environment has for programs: all but what AnyPod and Kubernetes put
    there for themselves."""
    hidden = (*pod.OURS, *pod.KUBERNETES)
    return {name: value for name, value in host.items() if not name.startswith(hidden)}


class NoKey(Exception):
    """Said without what is there instead."""


def lm_keys(host: Mapping[str, str]) -> tuple[dict[str, str], set[str]]:
    """Keys of LMs by the LM's name, and the names of variables that are not for programs.

    ``pod.LM_KEY`` with the LM's number holds its name, ``=``, and the name of the variable in which
    the key is: that one may be the image's or the pool's own. Raises NoKey.
    """
    keys: dict[str, str] = {}
    hidden: set[str] = set()
    for name, value in host.items():
        if name.startswith(pod.LM_KEY):
            lm, _, variable = value.partition("=")
            hidden.add(variable)
            key = host.get(variable, "").strip()
            if not key:
                ours = variable.startswith(pod.LM_SECRET)
                where = "the key of its Secret" if ours else f"the variable {variable}"
                raise NoKey(f"the key of LM {lm!r} is missing: there is nothing in {where}")
            if not pod.is_key(key):
                raise NoKey(f"the key of LM {lm!r} is none: {pod.NO_KEY}")
            keys[lm] = key
    return keys, hidden


def declared(config: "WorkerConfig") -> dict[str, str]:
    """What programs get, asked in a process that stage 0 has executed: in a container, it is that
    process's own environment."""
    return dict(os.environ) if config.container_env else config.env


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
