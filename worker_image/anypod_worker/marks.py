"""Whose step an executor is at, where its supervisor can read it when the executor has died.

A file that is mapped into memory: a mark costs no system call, and outlives whoever wrote it.
"""

import mmap
import os
from pathlib import Path

from anypod_worker.runtime.steps import MARK_BYTES

_NAME = "step"


class Marks:
    def __init__(self, directory: Path) -> None:
        """Raises OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        file = os.open(directory / _NAME, flags, 0o600)
        try:
            os.write(file, bytes(MARK_BYTES))  # so that there is room when it is written by memory
            self._map = mmap.mmap(file, MARK_BYTES)
        finally:
            os.close(file)

    def write(self, mark: bytes) -> None:
        self._map[:] = mark


def last(directory: Path) -> str:
    """The execution whose step it was; empty if it was none's. A program may have put anything in
    the file's place."""
    try:
        file = os.open(directory / _NAME, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        return os.read(file, MARK_BYTES).rstrip(b"\0").decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(file)
