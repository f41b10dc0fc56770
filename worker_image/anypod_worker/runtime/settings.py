"""What of a process a program can change by Python's own means, and how each is put back.

Reading is cheap and done after every execution; writing only where something differs. The same
rows also tell what the import of a program changed (an environment variable, a warnings filter),
which stays with that program and reaches no other.

What cannot be put back, as a hard limit or a higher ``nice``, has the executor replaced.

Not here, because it persists by design: modules of libraries and what they keep (import hooks of
some among it, see ``hooks``), and the state of ``random`` after a ``seed``. Threads and child
processes have the executor replaced or are killed, and so have audit hooks (``calls``). Context
variables, the decimal context among them, are new for each execution. What ``prctl`` sets, the
scheduler's policy and the limit of the stack nobody looks at: to ask costs a system call for each,
and no program harms the next by these unless it means to.
"""

import asyncio
import builtins
import faulthandler
import gc
import importlib
import locale
import logging
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from anypod_worker.runtime import hooks

_LIMITS = (
    resource.RLIMIT_NOFILE,
    resource.RLIMIT_DATA,
    resource.RLIMIT_AS,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_CPU,
    resource.RLIMIT_NPROC,
)
_SIGNALS = tuple(
    sorted(
        {int(each) for each in signal.valid_signals()}
        - {signal.SIGKILL, signal.SIGSTOP, signal.SIGINT}
    )
)
"""SIGINT is ours during every execution, whatever an import did to it."""

_getsignal: Callable[[int], Any] = importlib.import_module("_signal").getsignal
"""``signal.getsignal`` without its enums, which cost 25 times as much."""

_tracing = importlib.import_module("_tracemalloc")
"""``tracemalloc`` without what it brings along to show its traces."""


class _Setting(NamedTuple):
    read: Callable[[], Any]
    write: Callable[[Any], object]
    keep: Callable[[Any], Any] | None = None
    """Copies what ``read`` returns, where that is the live object."""


def _cwd() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - on the path of every execution
    except FileNotFoundError:
        return None


def _chdir(path: str | None) -> None:
    if path is not None:
        os.chdir(path)


_environ_object = os.environ
_environ_data: dict[bytes, bytes] = vars(os.environ)["_data"]


def _environment() -> dict[bytes, bytes]:
    if os.environ is not _environ_object:
        os.environ = _environ_object  # noqa: B003 - the object that Python began with
    return _environ_data


def _set_environ(saved: dict[bytes, bytes]) -> None:
    current = os.environb
    for name in [name for name in current if name not in saved]:
        del current[name]
    for name, value in saved.items():
        if current.get(name) != value:
            current[name] = value
    time.tzset()


def _timezone() -> tuple[Any, ...]:
    return time.tzname, time.timezone, time.altzone


def _umask() -> int:
    """There is no way to read it but to set it."""
    current = os.umask(0o077)
    os.umask(current)
    return current


def _interpreter() -> tuple[Any, ...]:
    return (
        sys.getrecursionlimit(),
        sys.get_int_max_str_digits(),
        sys.getswitchinterval(),
        gc.isenabled(),
        gc.get_threshold(),
        sys.dont_write_bytecode,
        sys.pycache_prefix,
        gc.get_debug(),
        _stack_size(),
        _depth_of_traces(),
        faulthandler.is_enabled(),
        sys.get_asyncgen_hooks(),
    )


def _stack_size() -> int:
    """Of new threads. To ask for it sets it to the default."""
    current = threading.stack_size()
    if current:
        threading.stack_size(current)
    return current


def _set_interpreter(saved: tuple[Any, ...]) -> None:
    sys.setrecursionlimit(saved[0])
    sys.set_int_max_str_digits(saved[1])
    sys.setswitchinterval(saved[2])
    (gc.enable if saved[3] else gc.disable)()
    gc.set_threshold(*saved[4])
    sys.dont_write_bytecode, sys.pycache_prefix = saved[5:7]
    gc.set_debug(saved[7])
    threading.stack_size(saved[8])
    _trace_memory(saved[9])
    if faulthandler.is_enabled() != saved[10]:
        (faulthandler.enable if saved[10] else faulthandler.disable)()
    sys.set_asyncgen_hooks(*saved[11])


def _depth_of_traces() -> int:
    return _tracing.get_traceback_limit() if _tracing.is_tracing() else 0


def _trace_memory(depth: int) -> None:
    if _depth_of_traces() != depth:
        _tracing.stop()
        if depth:
            _tracing.start(depth)


def _hooks() -> tuple[Any, ...]:
    return (
        sys.excepthook,
        sys.unraisablehook,
        sys.displayhook,
        sys.breakpointhook,
        threading.excepthook,
        warnings.showwarning,
        warnings.formatwarning,
        sys.gettrace(),
        sys.getprofile(),
        threading.gettrace(),
        threading.getprofile(),
    )


def _set_hooks(saved: tuple[Any, ...]) -> None:
    sys.excepthook, sys.unraisablehook, sys.displayhook, sys.breakpointhook = saved[:4]
    threading.excepthook = saved[4]
    warnings.showwarning, warnings.formatwarning = saved[5:7]
    if sys.gettrace() is not saved[7]:
        sys.settrace(saved[7])
    if sys.getprofile() is not saved[8]:
        sys.setprofile(saved[8])
    threading.settrace(saved[9])
    threading.setprofile(saved[10])


def _set_filters(saved: list[Any]) -> None:
    warnings.resetwarnings()  # also invalidates what was decided by the old ones
    warnings.filters[:] = saved  # type: ignore[index]


def _logging() -> tuple[Any, ...]:
    root = logging.root
    return (
        root.level,
        root.disabled,
        root.manager.disable,
        _logger_class(),
        _record_factory(),
        root.handlers,
        root.filters,
    )


def _logger_class() -> Any:
    return hooks.unless_a_librarys(logging.getLoggerClass(), logging.Logger)


def _record_factory() -> Any:
    return hooks.unless_a_librarys(logging.getLogRecordFactory(), logging.LogRecord)


def _keep_logging(live: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*live[:5], list(live[5]), list(live[6]))


def _set_logging(saved: tuple[Any, ...]) -> None:
    root = logging.root
    root.setLevel(saved[0])
    root.disabled = saved[1]
    logging.disable(saved[2])
    if _logger_class() is not saved[3]:
        logging.setLoggerClass(saved[3])
    if _record_factory() is not saved[4]:
        logging.setLogRecordFactory(saved[4])
    root.handlers[:] = saved[5]
    root.filters[:] = saved[6]


def _limits() -> list[tuple[int, int]]:
    return list(map(resource.getrlimit, _LIMITS))


def _set_limits(saved: list[tuple[int, int]]) -> None:
    for each, limits in zip(_LIMITS, saved, strict=True):
        if resource.getrlimit(each) != limits:
            resource.setrlimit(each, limits)


_nice = partial(os.getpriority, os.PRIO_PROCESS, 0)
_set_nice = partial(os.setpriority, os.PRIO_PROCESS, 0)


def _set_processors(saved: set[int]) -> None:
    """Those of the container may have changed meanwhile: who was there before is replaced then."""
    if not os.sched_getaffinity(0) > saved:
        os.sched_setaffinity(0, saved)
    if os.sched_getaffinity(0) != saved:
        raise OSError("the container has other processors now")


def _remembered_tempdir() -> Any:
    """None also for what it would be found to be anew."""
    found = tempfile.tempdir
    if found is not None and found == os.fsdecode(_environ_data.get(b"TMPDIR", b"")):
        return None
    return found


def _set_tempdir(saved: Any) -> None:
    tempfile.tempdir = saved


def _start_method() -> str | None:
    module = sys.modules.get("multiprocessing")
    return module.get_start_method(allow_none=True) if module is not None else None


def _set_start_method(saved: str | None) -> None:
    sys.modules["multiprocessing"].set_start_method(saved, force=True)


def _loop_policy() -> Any:
    """None for asyncio's own, which it makes when it first needs it."""
    policy = getattr(asyncio.events, "_event_loop_policy", None)
    return None if type(policy).__module__.startswith("asyncio.") else policy


def _set_loop_policy(saved: Any) -> None:
    """Without the public function, which would warn of its end."""
    asyncio.events._event_loop_policy = saved  # type: ignore[attr-defined]  # noqa: SLF001


_modules = sys.modules
"""The interpreter's own, whatever a program puts in its place."""


def _blocked() -> bool:
    """Whether a program has said that there is no dspy, as everybody would be told from then on."""
    return _modules.get("dspy", sys) is None


def _set_blocked(_saved: bool) -> None:
    """It has been lost, with all that others have of it."""
    raise ValueError


def _set_builtins(saved: dict[str, Any]) -> None:
    current = vars(builtins)
    for name in [name for name in current if name not in saved]:
        del current[name]
    current.update(saved)


def _handlers() -> list[Any]:
    return list(map(_getsignal, _SIGNALS))


def _set_handlers(saved: list[Any]) -> None:
    for number, handler in zip(_SIGNALS, saved, strict=True):
        # None is a handler that was not set from Python: there is no way back to it.
        if handler is not None and _getsignal(number) is not handler:
            signal.signal(number, handler)


def _attribute(name: str) -> _Setting:
    """A list of ``sys`` that is changed in place, and sometimes replaced."""

    def write(saved: list[Any]) -> None:
        setattr(sys, name, list(saved))

    return _Setting(partial(getattr, sys, name), write, list)


_SETTINGS = (
    _Setting(_handlers, _set_handlers),
    _Setting(_cwd, _chdir),
    _Setting(_environment, _set_environ, dict),
    _Setting(_timezone, lambda _saved: time.tzset()),
    _Setting(partial(locale.setlocale, locale.LC_ALL), partial(locale.setlocale, locale.LC_ALL)),
    _Setting(_umask, os.umask),
    _Setting(_interpreter, _set_interpreter),
    _Setting(_hooks, _set_hooks),
    _Setting(partial(getattr, warnings, "filters"), _set_filters, list),
    _Setting(_logging, _set_logging, _keep_logging),
    _Setting(_limits, _set_limits),
    _Setting(_nice, _set_nice),
    _Setting(partial(os.sched_getaffinity, 0), _set_processors),
    _Setting(socket.getdefaulttimeout, socket.setdefaulttimeout),
    _Setting(_start_method, _set_start_method),
    _Setting(_loop_policy, _set_loop_policy),
    _Setting(_blocked, _set_blocked),
    _Setting(partial(vars, builtins), _set_builtins, dict),
    _attribute("path"),
    _attribute("argv"),
    _Setting(_remembered_tempdir, _set_tempdir),  # after the environment, which it looks at
    _Setting(hooks.read, hooks.write),
)


_READS = tuple(each.read for each in _SETTINGS)
_UNREADABLE = object()


def _differs(current: Any, saved: Any) -> bool:
    try:
        return bool(current != saved)
    except Exception:  # noqa: BLE001 - compares objects of a program
        return True


def _read(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception:  # noqa: BLE001 - a program may have deleted it
        return _UNREADABLE


def _is_untouched(values: list[Any]) -> bool:
    try:
        return [read() for read in _READS] == values
    except Exception:  # noqa: BLE001 - the same
        return False


def _written(write: Callable[[Any], object], saved: Any) -> bool:
    try:
        write(saved)
    except (OSError, ValueError, RecursionError, locale.Error):
        return False
    return True


@dataclass(frozen=True)
class Settings:
    """The values of all settings at one moment."""

    values: list[Any]

    @classmethod
    def capture(cls) -> "Settings":
        return cls([read() if keep is None else keep(read()) for read, _, keep in _SETTINGS])

    def restore(self) -> bool:
        """Write what differs; False if something could not be put back."""
        if _is_untouched(self.values):
            return True
        complete = True
        for (read, write, _), saved in zip(_SETTINGS, self.values, strict=True):
            if _differs(_read(read), saved):
                complete &= _written(write, saved)
        return complete

    def restore_handlers(self) -> bool:
        """The signal handlers only."""
        read, write, _ = _SETTINGS[0]
        return not _differs(read(), self.values[0]) or _written(write, self.values[0])

    def differs(self, other: "Settings") -> bool:
        return any(map(_differs, self.values, other.values))
