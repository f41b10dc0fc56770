"""Lines of JSON as a stream (NDJSON), however the network has cut it.

Only LF ends a line: what stands before it, a CR too, is space to JSON. What was fed is looked at
line by line as it is asked for, so that a reader who waits has no more than the last piece.
"""

from collections.abc import Iterator

MEDIA_TYPE = "application/x-ndjson"
MEDIA_TYPES = (MEDIA_TYPE, "application/ndjson", "application/jsonl", "application/jsonlines")
"""The first is the one that we send; none of them is registered, and all are in use."""


class LineSplitter:
    def __init__(self, longest: int) -> None:
        """``longest``: bytes of a line without its end."""
        self._longest = longest
        self._parts: list[bytes] = []
        """The pieces of a line that has not ended; joined once."""
        self._size = 0

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """The lines that these bytes complete, without their ends; None for one that was too long,
        of which nothing is kept. To be used up before more is fed."""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._add(data[start:end])
            start = end + 1
            yield self._take()
        self._add(data[start:])

    def end(self) -> Iterator[bytes | None]:
        """The last line, if it has no end."""
        if self._size:
            yield self._take()

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._longest:
            self._parts.clear()
        elif part:
            self._parts.append(part)

    def _take(self) -> bytes | None:
        line = None if self._size > self._longest else b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return line
