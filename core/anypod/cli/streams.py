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


class Results(_Messages):
    _dropped = False

    def write(self, data: "Buffer") -> int:
        return memoryview(data).nbytes if self._dropped else super().write(data)

    def _lose(self, reason: OSError) -> None:
        self._dropped = True
        raise Unwritten(reason) from None

    def drop(self) -> None:
        """What is left of them, for which perhaps nobody makes room any more."""
        self._dropped = True


def take_over() -> Results:
    """From here on ``sys.stdout`` and ``sys.stderr`` are these."""
    results = Results(_number(sys.stdout))
    sys.stdout = _text(results, sys.stdout)
    sys.stderr = _text(_Messages(_number(sys.stderr)), sys.stderr)
    return results


def _number(given: TextIO | None) -> int:
    """None is what Python has for one that is closed."""
    return CLOSED if given is None else given.fileno()


def _text(raw: _Messages, given: TextIO | None) -> TextIO:
    if given is None:
        return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8")
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=given.encoding,
        errors=given.errors,
        line_buffering=bool(given.line_buffering),
    )
