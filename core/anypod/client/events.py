"""Server-sent events from bytes, however the network has cut them.

By the WHATWG's rules: lines end in CR LF, LF or CR; several ``data`` lines are one value; comments
and fields of no meaning here are skipped; an event that the stream's end cuts off is none.
"""

from collections.abc import Iterator
from dataclasses import dataclass

MAX_EVENT_BYTES = 600 * 1024 * 1024
"""Twice the largest body that a pool may allow, and something."""

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    name: str
    """``message`` when the stream gives none."""
    data: str
    id: str = ""
    """Of the last event that had one."""


class NothingLeft(Exception):
    """A stream that was asked for has ended, and all of its events were had (204)."""


class EventTooLarge(ValueError):
    """An event goes on beyond the bound."""


class EventParser:
    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._parts: list[bytes] = []
        """The pieces of a line that has not ended; joined once."""
        self._size = 0
        self._after_cr = False
        self._at_start = True
        self._name = ""
        self._data: list[bytes] = []
        self._id = ""

    def feed(self, data: bytes) -> Iterator[ServerSentEvent]:
        """The events that these bytes complete. Raises EventTooLarge."""
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if data.endswith(b"\r"):
            self._after_cr = True
        # splitlines() of bytes knows exactly these three line ends
        for line in data.splitlines(keepends=True):
            text = line.rstrip(b"\r\n")
            self._keep(text)
            if len(text) != len(line):
                yield from self._end_line()

    def _keep(self, text: bytes) -> None:
        self._size += len(text)
        if self._size > self._max:
            raise EventTooLarge(f"an event of more than {self._max} bytes")
        self._parts.append(text)

    def _end_line(self) -> Iterator[ServerSentEvent]:
        line = b"".join(self._parts)
        self._parts.clear()
        if self._at_start:
            line = line.removeprefix(_BOM)
            self._at_start = False
        if line:
            self._field(line)
        else:
            yield from self._end_event()

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            return
        self._size -= len(line)  # not kept
        if name == b"event":
            self._name = value.decode(errors="replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode(errors="replace")

    def _end_event(self) -> Iterator[ServerSentEvent]:
        data, name = self._data, self._name
        self._data, self._name, self._size = [], "", 0
        if data:
            text = b"\n".join(data).decode(errors="replace")
            yield ServerSentEvent(name or "message", text, self._id)
