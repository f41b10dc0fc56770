"""What workers log: from their pipe to a bounded file, and some of it to who is looking."""

import asyncio
import json
import logging
import os
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

MAX_LINE = 1024 * 1024
FILE_BYTES = 10 * 1024 * 1024
_SHOWN = {"warning", "error", "critical"}

Seen = Callable[[dict[str, Any]], None]


class LogPipe:
    """``write_end`` is what workers get as stderr; ``seen`` gets every JSON line of theirs."""

    def __init__(self, file: Path, seen: Seen) -> None:
        self.read_end, self.write_end = os.pipe()
        self._seen = seen
        self._file = RotatingFileHandler(file, maxBytes=FILE_BYTES, backupCount=2, delay=True)
        self._file.setFormatter(logging.Formatter("%(message)s"))

    async def run(self) -> None:
        """Until all writers are gone and ``write_end`` is closed."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=MAX_LINE)
        pipe = os.fdopen(self.read_end, "rb", buffering=0)
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            while line := await _line(reader):
                self._take(line.decode(errors="replace").rstrip("\n"))
        finally:
            transport.close()

    def _take(self, line: str) -> None:
        self._file.emit(logging.makeLogRecord({"msg": line, "args": None}))
        try:
            told = json.loads(line)
        except ValueError:
            told = {"level": "error", "message": line}
        if isinstance(told, dict):
            self._seen(told)

    def close(self) -> None:
        os.close(self.write_end)
        self._file.close()


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil()
    except asyncio.IncompleteReadError as end:
        return end.partial
    except asyncio.LimitOverrunError as long:
        return await reader.readexactly(long.consumed)


def is_for_people(told: dict[str, Any]) -> bool:
    return str(told.get("level", "")).lower() in _SHOWN
