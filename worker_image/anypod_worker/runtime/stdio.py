"""fds 0 to 2 and the streams over them, as the supervisor gave them to the executor.

A program may close them, point them elsewhere, or replace the objects. Copies of the fds with
high numbers bring them back.
"""

import contextlib
import ctypes
import fcntl
import io
import os
import resource
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

ERRORS = "backslashreplace"
"""Whatever a program prints can be written, unpaired surrogates too."""
_LINE_BUFFERED = 1  # _IOLBF of C


class Direct(io.BufferedIOBase):
    """The binary side of a stream, without the lock of ``io.BufferedWriter``: a fork while another
    thread prints would inherit it taken, and print no more."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self.name = name
        self.mode = "wb"

    def write(self, data: "Buffer", /) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        return size

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd


def _output(fd: int) -> io.TextIOWrapper:
    # By lines, so that what was printed before a crash is not lost with the process.
    raw = Direct(fd, "<stdout>" if fd == 1 else "<stderr>")
    return io.TextIOWrapper(raw, encoding="utf-8", errors=ERRORS, line_buffering=True)


def _input() -> io.TextIOWrapper:
    raw = open(0, "rb", closefd=False)  # noqa: SIM115
    return io.TextIOWrapper(raw, encoding="utf-8", errors=ERRORS)


def open_streams() -> None:
    """New std streams over fds 0 to 2, in place of those that the fork inherited."""
    sys.stdin = sys.__stdin__ = _input()  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = _output(1)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _output(2)  # type: ignore[misc]
    _buffer_c_by_lines()


def _buffer_c_by_lines() -> None:
    """What C code prints would else stay in its buffer until another execution runs."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, _LINE_BUFFERED, 0)


def _flush_one(stream: object) -> bool:
    if isinstance(stream, io.TextIOWrapper):
        try:
            stream.flush()
        except (OSError, ValueError):
            return False
    return True


def _current(name: str) -> object:
    return getattr(sys, name, None)  # a program may have deleted it


def flush() -> bool:
    """Everything that the execution has printed is in the pipes when this returns; or False."""
    stdout = _current("stdout")
    complete = _flush_one(stdout)
    complete &= _flush_one(_current("stderr"))
    original = _current("__stdout__")
    if stdout is not original:
        complete &= _flush_one(original)
    return complete


def _is_intact(stream: TextIO, line_buffering: bool) -> bool:
    try:
        return (
            isinstance(stream, io.TextIOWrapper)
            and not stream.closed
            and not stream.buffer.closed
            and stream.encoding == "utf-8"
            and stream.errors == ERRORS
            and stream.line_buffering == line_buffering
        )
    except ValueError:  # detached
        return False


@dataclass
class StandardStreams:
    copies: tuple[int, int, int]
    stdin: TextIO
    stdout: TextIO
    stderr: TextIO

    @classmethod
    def capture(cls) -> "StandardStreams":
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        least = max(3, min(200, soft - 16))
        copies = tuple(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, least) for fd in (0, 1, 2))
        return cls((copies[0], copies[1], copies[2]), sys.stdin, sys.stdout, sys.stderr)

    def are_in_place(self) -> bool:
        """No object of the program stands for a stream, with a buffer of its own."""
        return _current("stdout") is self.stdout and _current("stderr") is self.stderr

    def restore(self) -> bool:
        """False if the copies are gone too: then nothing can be printed any more."""
        flushed = flush()
        try:
            for fd, copy in enumerate(self.copies):
                os.dup2(copy, fd)
            for fd in (1, 2):
                if not os.get_blocking(fd):
                    os.set_blocking(fd, True)
        except OSError:
            return False
        if not flushed:
            flush()  # again: what could not be written to a closed fd
        self._restore_objects()
        return True

    def _restore_objects(self) -> None:
        """What stood in place of a stream may share its buffer, and close it when it goes: so that
        one is not used again."""
        if _current("stdin") is not self.stdin or not _is_intact(self.stdin, False):
            sys.stdin = self.stdin = _input()
        if _current("stdout") is not self.stdout or not _is_intact(self.stdout, True):
            sys.stdout = self.stdout = _output(1)
        if _current("stderr") is not self.stderr or not _is_intact(self.stderr, True):
            sys.stderr = self.stderr = _output(2)
        sys.__stdin__ = self.stdin  # type: ignore[misc, assignment]
        sys.__stdout__ = self.stdout  # type: ignore[misc, assignment]
        sys.__stderr__ = self.stderr  # type: ignore[misc, assignment]

    def close(self) -> None:
        for copy in self.copies:
            os.close(copy)
