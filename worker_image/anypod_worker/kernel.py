"""What Linux offers to hold a process: prctl, resource limits, Landlock. By ctypes, for both sides.

Everything here works without privileges. What an older kernel lacks is left out and said so by the
return value; containment then rests on the rest.
"""

import contextlib
import ctypes
import os
import resource
import signal
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_CREATE_RULESET_VERSION = 1
_LANDLOCK_SCOPE_ABI = 6
_LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET = 1
_LANDLOCK_SCOPE_SIGNAL = 2

_CAPABILITY_VERSION = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


class _LandlockRuleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def die_with_parent(number: signal.Signals) -> None:
    """Have the kernel send this signal when the parent dies. It forgets this at a fork."""
    _prctl(_PR_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Become the child subreaper: descendants whose parent dies become children of this process."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def hide_memory() -> None:
    """Nobody of the same uid may trace this process, or read its memory or first environment."""
    _prctl(_PR_SET_DUMPABLE, 0)


def name_process(name: str) -> None:
    """What ``ps`` and ``top`` show; 15 characters."""
    _libc.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]), 0, 0, 0)


def has_children() -> bool:
    """Reaps one that has ended. ``os.waitpid`` would raise for the answer that is the usual one."""
    return bool(_libc.waitpid(-1, None, os.WNOHANG) != -1)


def yield_to_others() -> None:
    """Never preempt by waking up: the supervisor, and a gateway beside it, go on with what they are
    at, and have more to send when an executor's turn comes. On an idle processor nothing waits."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def be_killed_first() -> None:
    """Tell the kernel's OOM killer to take this process, and its children, before any other.

    Done before ``hide_memory``: after it the file belongs to root.
    """
    _prctl(_PR_SET_DUMPABLE, 1)
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        return


def allow_many_files() -> None:
    """As many as may be: a supervisor holds three for each executor."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def limit_resources(*, data_bytes: int, open_files: int) -> None:
    """Bound the data segment and open files; forbid core dumps. Cannot be raised again."""
    for kind, wanted in (
        (resource.RLIMIT_DATA, data_bytes),
        (resource.RLIMIT_NOFILE, open_files),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (bound, bound))


def give_up_capabilities() -> None:
    """As root: an ordinary user's rights over what is root's. No exec brings them back once
    ``confine_signals`` has been called."""
    if os.geteuid() != 0:
        return
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    if _libc.capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)())) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def confine_signals() -> bool:
    """Signals from here on reach only this process and what it starts (Landlock, Linux 6.12).

    Returns whether the kernel can do so. No privilege can be gained by an exec afterwards.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    abi = _libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION)
    if abi < _LANDLOCK_SCOPE_ABI:
        return False
    ruleset = _LandlockRuleset(scoped=_LANDLOCK_SCOPE_SIGNAL | _LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET)
    descriptor = _libc.syscall(
        _LANDLOCK_CREATE_RULESET, ctypes.byref(ruleset), ctypes.sizeof(ruleset), 0
    )
    if descriptor < 0:
        return False
    try:
        return bool(_libc.syscall(_LANDLOCK_RESTRICT_SELF, descriptor, 0) == 0)
    finally:
        os.close(descriptor)
