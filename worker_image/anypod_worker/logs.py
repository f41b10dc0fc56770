"""The worker's log: one line per event on stderr, as JSON or for people.

A reader of stderr that does not read must not stop the worker: lines wait in a bounded queue for a
thread that writes them, and what does not fit is counted and dropped.
"""

import contextlib
import json
import logging
import queue
import sys
import threading
import time
from typing import Any

logger = logging.getLogger("anypod.worker")

_QUEUED = 10_000
_CLOSE_SECONDS = 2.0


def event(level: int, text: str, **fields: Any) -> None:
    """Log with structured fields. Never inputs, outputs or secrets."""
    logger.log(level, text, extra={"fields": fields})


class _QueueingHandler(logging.Handler):
    def __init__(self, lines: "queue.Queue[logging.LogRecord | None]") -> None:
        super().__init__()
        self._lines = lines
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        try:
            self._lines.put_nowait(record)
        except queue.Full:
            self._dropped += 1
            return
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            logger.warning("%d log lines were dropped: stderr is not read", dropped)


class _Json(logging.Formatter):
    def __init__(self, always: dict[str, str]) -> None:
        super().__init__()
        self._always = always

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}"
            f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **self._always,
            **getattr(record, "fields", {}),
        }
        if record.exc_text:
            line["traceback"] = record.exc_text
        return json.dumps(line)


class _Text(logging.Formatter):
    def __init__(self, always: dict[str, str]) -> None:
        super().__init__()
        self._worker = always["worker"]

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = "".join(f" {k}={v}" for k, v in getattr(record, "fields", {}).items())
        text = f"{clock} {record.levelname:<7} {self._worker} {record.getMessage()}{fields}"
        return f"{text}\n{record.exc_text}" if record.exc_text else text


class Log:
    """Owns the writing thread; ``close`` writes what is queued, if somebody reads it."""

    def __init__(self, style: str, *, worker: str, pool: str) -> None:
        always = {"worker": worker, "pool": pool}
        self._lines: queue.Queue[logging.LogRecord | None] = queue.Queue(_QUEUED)
        self._writer = logging.StreamHandler(sys.stderr)
        self._writer.setFormatter(_Json(always) if style == "json" else _Text(always))
        self._handler = _QueueingHandler(self._lines)
        logging.getLogger().addHandler(self._handler)
        logger.setLevel(logging.INFO)
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def _write(self) -> None:
        while (record := self._lines.get()) is not None:
            self._writer.handle(record)

    def close(self) -> None:
        logging.getLogger().removeHandler(self._handler)
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=_CLOSE_SECONDS)
        self._thread.join(_CLOSE_SECONDS)
