"""A gateway's process: settings from the command line, then the server's loop."""

import ctypes
import gc
import os
import signal
import sys

import uvloop

from anypod_gateway import log_lines, server
from anypod_gateway.settings import Settings, parse

_PR_SET_PDEATHSIG = 1
_GC_THRESHOLD = (20_000, 20, 20)
"""A request leaves hardly any cycles, and makes enough objects to be looked through for some."""


def main() -> int:
    settings = parse(sys.argv[1:])
    if settings.die_with_parent:
        _die_with(settings.die_with_parent)
    lines = log_lines.LineWriter(sys.stderr.fileno())
    log_lines.set_up(lines, settings.log_format)
    try:
        return _run(settings, lines)
    finally:
        lines.close()


def _run(settings: Settings, lines: log_lines.LineWriter) -> int:
    # What has been imported stays; looking through it again and again would cost every request.
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLD)
    gc.enable()
    try:
        return uvloop.run(server.serve(settings, lines))
    except server.CannotStart as reason:
        lines.write(f"anypod_gateway cannot start: {reason}\n".encode())
        return 2


def _die_with(parent: int) -> None:
    """Not by SIGTERM: the workers of a dead parent die with it, so there is nothing to finish."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_PDEATHSIG")
    if os.getppid() != parent:
        sys.exit("the parent has died already")
