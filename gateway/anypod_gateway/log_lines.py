"""Lines to stderr without the loop waiting for whoever reads them.

A full pipe must not stop a gateway: a thread writes in batches, and when the reader is so far
behind that the bound is reached, lines are dropped, counted, and the count is said.
"""

import contextlib
import json
import logging
import os
import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import Literal

LogFormat = Literal["text", "json"]

MAX_PENDING_LINES = 20_000
_BATCH_SECONDS = 0.05


class LineWriter:
    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pending: deque[bytes] = deque()
        self._dropped = 0
        self._wake = threading.Event()
        self._writing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="log-lines", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """``line`` ends in a newline."""
        if len(self._pending) >= MAX_PENDING_LINES:
            self._dropped += 1
            return
        self._pending.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def flush(self) -> None:
        """Write what there is; blocks."""
        with self._writing:
            lines = [self._pending.popleft() for _ in range(len(self._pending))]
            if self._dropped:
                lines.append(b"%d log lines were dropped: stderr is too slow\n" % self._dropped)
                self._dropped = 0
            _write_all(self._fd, b"".join(lines))

    def close(self) -> None:
        self._closed = True
        self._wake.set()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait()
            if not self._closed:
                time.sleep(_BATCH_SECONDS)
            self._wake.clear()
            self.flush()


def _write_all(fd: int, data: bytes) -> None:
    with contextlib.suppress(OSError):  # nobody reads stderr any more: nothing to tell it to
        while data:
            data = data[os.write(fd, data) :]


class LogHandler(logging.Handler):
    """Python's logging into the same lines."""

    def __init__(self, lines: LineWriter, form: LogFormat) -> None:
        super().__init__()
        self._lines = lines
        self._json = form == "json"

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.write(self._line(record).encode(errors="backslashreplace") + b"\n")
        except Exception:  # noqa: BLE001 - logging's own rule: a log call never raises
            self.handleError(record)

    def _line(self, record: logging.LogRecord) -> str:
        when, message = timestamp(record.created), record.getMessage()
        trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
        if not self._json:
            text = f"{when} {record.levelname.lower()} {record.name}: {message}"
            return f"{text}\n{trace}" if trace else text
        fields = {
            "time": when,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
        }
        return json.dumps(fields | ({"stack": trace} if trace else {}))


def timestamp(seconds: float) -> str:
    when = datetime.fromtimestamp(seconds, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def set_up(lines: LineWriter, form: LogFormat) -> None:
    root = logging.getLogger()
    root.handlers[:] = [LogHandler(lines, form)]
    root.setLevel(logging.INFO)
