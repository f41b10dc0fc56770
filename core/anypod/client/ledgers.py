"""What of a batch has been sent and is not answered yet.

It is bounded, so that a long iterable is read only as its answers are; and it is all that has to
be kept to send the batch again when its connection breaks: the rest is sent as blank lines, which
gateways count and leave out.
"""

import asyncio
from collections.abc import Iterator

MOST_ITEMS = 1000
MOST_BYTES = 8 * 1024 * 1024
PIECE_BYTES = 64 * 1024


class Ledger:
    def __init__(self) -> None:
        self.sent = 0
        """Lines, ever."""
        self._open: dict[int, bytes] = {}
        """By index."""
        self._bytes = 0
        self._room = asyncio.Event()

    async def room(self) -> None:
        """Waits until one more may be sent."""
        while len(self._open) >= MOST_ITEMS or self._bytes >= MOST_BYTES:
            self._room.clear()
            await self._room.wait()

    def add(self, line: bytes) -> None:
        """With its end. A blank one gets no answer."""
        if not line.isspace():
            self._open[self.sent] = line
            self._bytes += len(line)
        self.sent += 1

    def settle(self, index: int) -> bool:
        """It is answered; False if no answer was expected."""
        line = self._open.pop(index, None)
        if line is None:
            return False
        self._bytes -= len(line)
        self._room.set()
        return True

    @property
    def is_settled(self) -> bool:
        return not self._open

    def again(self) -> Iterator[bytes]:
        """All lines that were sent, blank where they are answered; as it is now."""
        at = 0
        for index, line in list(self._open.items()):
            yield from _blank(index - at)
            yield line
            at = index + 1
        yield from _blank(self.sent - at)


def _blank(lines: int) -> Iterator[bytes]:
    while lines:
        piece = min(lines, PIECE_BYTES)
        yield b"\n" * piece
        lines -= piece
