"""A pipe into which processes write lines, read on the loop."""

import asyncio
import os
from collections.abc import Callable

MAX_LINE_BYTES = 64 * 1024
_PIECE = 64 * 1024


class Relay:
    def __init__(self, on_line: Callable[[bytes], None]) -> None:
        self._on_line = on_line
        self._read, self.write_end = os.pipe()
        os.set_blocking(self._read, False)
        self._rest = b""
        asyncio.get_running_loop().add_reader(self._read, self._take)

    def _take(self) -> bool:
        """Whether there was anything."""
        try:
            piece = os.read(self._read, _PIECE)
        except BlockingIOError:
            return False
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._on_line(line)
        return bool(piece)

    def close(self) -> None:
        """After what is in the pipe has been read; nobody may write to it any more."""
        asyncio.get_running_loop().remove_reader(self._read)
        os.close(self.write_end)
        while self._take():
            pass
        os.close(self._read)
