"""What ``anypod up`` says, on stderr: for people, or as JSON lines.

On a terminal there is a status line below what has been said, and what the workers log passes
through here, so that both keep their shape. Elsewhere the workers write to stderr themselves.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from anypod.printable import printable

Level = Literal["info", "warning", "error"]

_COLOURS: Mapping[Level, str] = {"info": "", "warning": "\033[33m", "error": "\033[31m"}
_DIM, _END, _CLEAR = "\033[2m", "\033[0m", "\r\033[K"
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_REMEMBERED_LINES = 2000

PROBES = frozenset({"/readyz", "/healthz"})
_ACCESS = ("method", "path", "status", "problem", "pool", "worker", "execution")
"""Members of the gateway's access log, in the order in which they are shown."""
_NO_DETAIL = frozenset(
    {"time", "level", "logger", "message", "worker", "pool", "traceback", "stack"}
)


class Console:
    def __init__(
        self,
        log_format: Literal["text", "json"],
        stream: TextIO = sys.stderr,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._json = log_format == "json"
        self._stream = stream
        self.is_live = (
            not self._json and stream.isatty() and environment.get("TERM", "dumb") != "dumb"
        )
        self._colour = self.is_live and not environment.get("NO_COLOR")
        self._status = ""
        self._frame = 0
        self._seen: set[bytes] = set()

    # what we say

    def say(self, text: str, level: Level = "info", **fields: Any) -> None:
        if self._json:
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            line = {"time": now, "level": level, "source": "local", "message": text, **fields}
            self._write(json.dumps(line))
        else:
            clock = self._in(_DIM, time.strftime("%H:%M:%S"))
            self._write(f"{clock} {self._in(_COLOURS[level], text)}")

    def show(self, *lines: str) -> None:
        """Lines for people alone."""
        if not self._json:
            self._write("\n".join(lines))

    def dim(self, text: str) -> str:
        return self._in(_DIM, text)

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_END}" if self._colour and colour else text

    # the status line

    def status(self, text: str) -> None:
        """What is under way; empty when nothing is."""
        if self.is_live and text != self._status:
            self._status = text
            self.turn()
        self._status = text

    def turn(self) -> None:
        """Called several times a second while there is a status."""
        if self.is_live:
            self._frame = (self._frame + 1) % len(_FRAMES)
            shown = f"{_FRAMES[self._frame]} {self._status}" if self._status else ""
            self._emit(_CLEAR + shown)

    # what others say

    def foreign(self, line: bytes) -> None:
        """A line of a child's log, on a terminal only. Raw lines (a traceback that every worker
        writes) are shown once until ``all_is_well``."""
        try:
            record = json.loads(line)
            level = str(record.get("level", "info"))
        except (ValueError, AttributeError):
            self._foreign_raw(line)
            return
        if "method" in record:
            self._request(record)
        elif "stream" in record:
            who = f"{record.get('worker', '')} {record.get('execution', '')} |"
            self._write(f"{self.dim(printable(who))} {printable(str(record.get('message', '')))}")
        elif level in {"warning", "error", "critical"} and self._is_new(_key(record)):
            self._complaint(record, "warning" if level == "warning" else "error")

    def _request(self, record: Mapping[str, Any]) -> None:
        status = int(record.get("status", 0))
        if (record.get("method") == "GET" and status < 400) or record.get("path") in PROBES:
            return  # whoever looks, as 'anypod top' does every second, changes nothing
        told = [str(record[name]) for name in _ACCESS if record.get(name)]
        if items := record.get("items"):
            told.append(f"items={items} failed={record.get('failed', 0)}")
        text = " ".join([*told, f"{float(record.get('ms', 0)):.1f} ms"])
        self.say(
            printable(text), "info" if status < 400 else "warning" if status < 500 else "error"
        )

    def _complaint(self, record: Mapping[str, Any], level: Level) -> None:
        who = record.get("worker") or "gateway"
        more = "".join(
            f" {name}={value}" for name, value in record.items() if name not in _NO_DETAIL
        )
        self.say(printable(f"{who}: {record.get('message', '')}{more}"), level)
        for name in ("traceback", "stack"):
            if name in record:
                self._write(printable(str(record[name])))

    def _foreign_raw(self, line: bytes) -> None:
        if self._is_new(line):
            self._write(self.dim(printable(line.decode(errors="replace"))))

    def _is_new(self, line: bytes) -> bool:
        if line in self._seen:
            return False
        if len(self._seen) < _REMEMBERED_LINES:
            self._seen.add(line)
        return True

    def all_is_well(self) -> None:
        self._seen.clear()

    def _write(self, text: str) -> None:
        status = f"{_FRAMES[self._frame]} {self._status}" if self.is_live and self._status else ""
        self._emit(f"{_CLEAR if self.is_live else ''}{text}\n{status}")

    def _emit(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:  # nobody reads it any more, which is no reason to stop the pool
            return


def _key(record: Mapping[str, Any]) -> bytes:
    """Equal for what several workers say of the same thing."""
    return f"{record.get('message')} {record.get('execution', '')}".encode()
