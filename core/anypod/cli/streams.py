"""stdout and stderr of a command, and what becomes of what cannot be written to them.

Python raises the OSError in whichever call comes upon it, where libraries on the way take it for
theirs, and once more at the exit. Here results that cannot be written are ``Unwritten``, which
nobody takes for anything else, and that once; what is for people, on stderr, is dropped.
"""

import errno
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Unwritten(Exception):
    """Of stdout."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(f"cannot write the results: {reason.strerror}")
        self.reader_left = reason.errno == errno.EPIPE


CLOSED = -1
"""One that was closed when the command was started: its number is free for any other file."""


class _Messages(io.RawIOBase):
    def __init__(self, number: int) -> None:
        self._number = number

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def fileno(self) -> int:
        return self._number

    def write(self, data: "Buffer") -> int:
        try:
            return os.write(self._number, data)
        except OSError as reason:
            self._lose(reason)
            return memoryview(data).nbytes

    def _lose(self, reason: OSError) -> None:
        pass


class _Results(_Messages):
    _lost = False

    def _lose(self, reason: OSError) -> None:
        if not self._lost:
            self._lost = True
            raise Unwritten(reason) from None


def take_over() -> None:
    """From here on ``sys.stdout`` and ``sys.stderr`` are these."""
    sys.stdout = _text(_Results, sys.stdout)
    sys.stderr = _text(_Messages, sys.stderr)


def _text(raw: type[_Messages], given: TextIO | None) -> TextIO:
    """None is what Python has for one that is closed."""
    if given is None:
        return io.TextIOWrapper(io.BufferedWriter(raw(CLOSED)), encoding="utf-8")
    return io.TextIOWrapper(
        io.BufferedWriter(raw(given.fileno())),
        encoding=given.encoding,
        errors=given.errors,
        line_buffering=bool(given.line_buffering),
    )
