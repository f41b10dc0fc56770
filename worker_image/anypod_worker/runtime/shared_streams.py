"""The std streams while several executions run: what is printed goes to the one that prints it.

What is written to the descriptors themselves (by C code, by child processes) cannot be told apart.
"""

import io
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from anypod_worker.runtime import stdio

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

Stream = Literal["stdout", "stderr"]
Print = Callable[[Stream, bytes], bool]
"""Takes what the execution that runs has printed; False if none runs."""


class _Raw(stdio.Direct):
    def __init__(self, fd: int, stream: Stream, take: Print) -> None:
        super().__init__(fd, f"<{stream}>")
        self._stream: Stream = stream
        self._take = take
        self._process = os.getpid()

    def write(self, data: "Buffer", /) -> int:
        # A child process has no connection of its own.
        if os.getpid() == self._process and self._take(self._stream, bytes(data)):
            return memoryview(data).nbytes
        return super().write(data)


class _Text(io.TextIOWrapper):
    def close(self) -> None:
        """The others go on printing."""
        self.flush()


def _text(fd: int, stream: Stream, take: Print) -> io.TextIOWrapper:
    # Whose text would wait in a buffer could not be told later.
    return _Text(_Raw(fd, stream, take), encoding="utf-8", errors=stdio.ERRORS, write_through=True)


class Shared:
    """As the context of a with statement, once."""

    def __init__(self, take: Print) -> None:
        self._stdout = _text(1, "stdout", take)
        self._stderr = _text(2, "stderr", take)
        self._before: tuple[Any, ...] = ()

    def __enter__(self) -> None:
        stdio.flush()
        self._before = sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__
        sys.stdout = sys.__stdout__ = self._stdout  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = self._stderr  # type: ignore[misc]

    def __exit__(self, *_: object) -> None:
        sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__ = self._before  # type: ignore[misc]
