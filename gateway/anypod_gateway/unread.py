"""What clients have been answered and do not read: held for a while, and not beyond any measure.

Nobody waits for such a client, and its answer may be as large as a body. So a connection that takes
nothing of a whole answer for a minute is dropped. And where all that waits takes too much of this
process's memory, those are dropped that have kept most for longest: else a few callers could end
the gateway for all. What a handler writes piece by piece waits for its reader, and says itself for
how long.
"""

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

UNREAD_SECONDS = 60.0
"""For a client to take something of what waits for it."""
SHARE = 2
"""The part of the memory that unread answers may take."""
COPIES = 2
"""Of an answer, as long as any of it waits: its body, and what is being written."""

_AT_ONCE = struct.pack("ii", 1, 0)
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def most_unread() -> int:
    """Bytes of memory for what waits for all clients."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in _LIMITS:
        try:
            memory = min(memory, int(path.read_text()))
        except (OSError, ValueError):  # there is none, or it is "max"
            continue
    return memory // SHARE


class Reader:
    """One client, while more waits for it than a connection buffers."""

    def __init__(self, transport: asyncio.Transport, size: Callable[[], int | None]) -> None:
        self.transport = transport
        self.size = size
        """Of its answer, all of which has been written; None while a handler writes."""
        self.waits = transport.get_write_buffer_size()
        self.since = asyncio.get_running_loop().time()
        """When it last took something, as far as has been seen."""
        self.timer: asyncio.TimerHandle | None = None

    @property
    def holds(self) -> int:
        """Of the memory: much of an answer may be in the kernel, and is still here."""
        return COPIES * max(self.waits, self.size() or 0)

    def look(self, now: float) -> None:
        waits = self.transport.get_write_buffer_size()
        if waits < self.waits:
            self.since = now
        self.waits = waits

    def drop(self) -> None:
        log.info("a client did not read %d bytes of its answers; it was dropped", self.waits)
        sock = self.transport.get_extra_info("socket")
        if sock is not None:  # the kernel, too, is to keep nothing for it
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.transport.abort()


class Unread:
    """Of all connections of a gateway."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._readers: set[Reader] = set()

    def add(self, transport: asyncio.Transport, size: Callable[[], int | None]) -> Reader:
        reader = Reader(transport, size)
        self._readers.add(reader)
        self._wait(reader, UNREAD_SECONDS)
        self._make_room(reader)
        return reader

    def remove(self, reader: Reader) -> None:
        self._readers.discard(reader)
        if reader.timer is not None:
            reader.timer.cancel()

    def _wait(self, reader: Reader, seconds: float) -> None:
        reader.timer = asyncio.get_running_loop().call_later(seconds, self._check, reader)

    def _check(self, reader: Reader) -> None:
        now = asyncio.get_running_loop().time()
        reader.look(now)
        left = reader.since + UNREAD_SECONDS - now
        if left > 0:
            self._wait(reader, left)
        elif reader.size() is not None:
            reader.drop()
        else:
            self._wait(reader, UNREAD_SECONDS)

    def _make_room(self, newest: Reader) -> None:
        """The newest has had no time to read anything."""
        excess = sum(reader.holds for reader in self._readers) - self._most
        if excess <= 0:
            return
        now = asyncio.get_running_loop().time()
        for reader in self._readers:
            reader.look(now)
        others = self._readers - {newest}
        for reader in sorted(others, key=lambda one: one.holds * (now - one.since), reverse=True):
            if excess <= 0:
                return
            excess -= reader.holds
            self.remove(reader)
            reader.drop()
