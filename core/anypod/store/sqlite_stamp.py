"""A word of shared memory beside the SQLite file that is another one after every write.

To ask the file itself takes a thread, and a busy event loop hands the interpreter over to it
several times for one query. Whoever finds here what was here before its last query knows without
one that nothing was written since. The value is compared, never used.
"""

import mmap
import os
import secrets
from pathlib import Path

_BYTES = 8


class Stamp:
    """Any thread may use it once it is open."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(f"{database.name}-stamp")
        self._fd = -1
        self._word: memoryview | None = None

    def open(self) -> None:
        """Raises OSError."""
        if self._word is not None:
            return
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, _BYTES)
            # One aligned word: it is written and read as a whole.
            self._word = memoryview(mmap.mmap(fd, _BYTES)).cast("Q")
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        self.renew()

    def read(self) -> int | None:
        """What it is now; None when nothing can be said."""
        word = self._word
        return word[0] if word is not None else None

    def renew(self) -> None:
        """After a commit, and before anybody hears of it."""
        word = self._word
        if word is not None:
            word[0] = secrets.randbits(64)

    def check(self) -> None:
        """Say nothing more if the file was removed: others may share another one by now."""
        if self._word is not None and not os.fstat(self._fd).st_nlink:
            self.close()

    def close(self) -> None:
        if self._word is not None:
            self._word = None
            os.close(self._fd)
