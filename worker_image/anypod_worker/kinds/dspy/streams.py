"""A connection's bytes, which wait in whatever event loop runs now.

An executor has a new loop for each company of runs, and asyncio's own streams die with the loop
that made them. These outlive it, so that the next run need not connect again.
"""

import asyncio
import contextlib
import os
import socket
import ssl

CHUNK = 64 * 1024


class Stream:
    """Whoever uses it gives it up when anything is raised, a cancel too: it may be torn."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._inode = os.fstat(sock.fileno()).st_ino

    async def read(self) -> bytes:
        """Empty at the end."""
        return await asyncio.get_running_loop().sock_recv(self._sock, CHUNK)

    async def write(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, data)

    def is_quiet(self) -> bool:
        """Open, and with nothing to read, as it must be before a request."""
        try:
            return self._is_there() and self._has_nothing()
        except OSError:
            return False

    def _is_there(self) -> bool:
        """A program may have closed descriptors that are not its own: then another file may have
        this number now. Raises OSError where none has."""
        return os.fstat(self._sock.fileno()).st_ino == self._inode

    def _has_nothing(self) -> bool:
        """Raises OSError for a connection that is broken."""
        try:
            self._sock.recv(1)
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        """Whoever's file has its number now is left alone."""
        with contextlib.suppress(OSError):
            if self._is_there():
                self._sock.close()
        self._sock.detach()


class TlsStream(Stream):
    """Without a last word at its end: of both sides, who speaks HTTP knows what is complete."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        super().__init__(sock)
        self._come, self._go = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._come, self._go, server_hostname=host)

    async def shake_hands(self) -> None:
        """Raises OSError, as ``ssl.SSLError`` is one."""
        while not self._try_hand():
            await self._flush()
            await self._receive()
        await self._flush()

    def _try_hand(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    async def read(self) -> bytes:
        while True:
            try:
                return self._tls.read(CHUNK)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._receive()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    async def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self._tls.write(left) :]
        await self._flush()

    async def _flush(self) -> None:
        """What is to be told to the other side, alerts and new keys too."""
        if self._go.pending:
            await super().write(self._go.read())

    async def _receive(self) -> None:
        data = await super().read()
        if data:
            self._come.write(data)
        else:
            self._come.write_eof()

    def _has_nothing(self) -> bool:
        """Tickets, which servers send when they like, are nothing."""
        if self._has_ended():
            return False
        try:
            self._tls.read(1)
        except ssl.SSLWantReadError:
            return True
        return False

    def _has_ended(self) -> bool:
        """After what is there has been read."""
        with contextlib.suppress(BlockingIOError):
            while data := self._sock.recv(CHUNK):
                self._come.write(data)
            return True
        return False
