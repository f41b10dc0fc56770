"""Calls that leave something behind at which Python does not let us look: so they are noticed.

An audit hook hears all that comes later, prints into its output, forbids it to open files, and
nothing takes it away: the process must not serve another program. (A hook of our own would hear of
it too, but cost something at each of very many events.) The thread that prints a traceback when
that is due, and may end the process then, is none of Python's, and nobody counts it.
"""

import faulthandler
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

_came: set[str] = set()


def _noticed(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def noticed(*args: Any, **named: Any) -> Any:
        _came.add(call.__name__)
        return call(*args, **named)

    return noticed


_add_hook = _noticed(sys.addaudithook)
_dump_later = _noticed(faulthandler.dump_traceback_later)


def notice() -> None:
    """From here on."""
    sys.addaudithook = _add_hook
    faulthandler.dump_traceback_later = _dump_later


def has_audit_hook() -> bool:
    return "addaudithook" in _came


def dump_no_traceback() -> None:
    """What is due is not. Only of this process: after a fork it would wait for ever."""
    if "dump_traceback_later" in _came:
        _came.remove("dump_traceback_later")
        faulthandler.cancel_dump_traceback_later()
