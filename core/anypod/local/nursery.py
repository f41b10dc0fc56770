"""The launcher's side of the nursery: workers are forked from it (``anypod.wire.nursery``)."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

import msgspec

from anypod.local import processes
from anypod.local.children import Children
from anypod.wire.config import WorkerConfig
from anypod.wire.nursery import MAX_PACKET_BYTES, Spawn, Spawned

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Spawned).decode


class NotForked(Exception):
    """Why there is no worker."""


class Nursery:
    """One nursery at a time; ``start`` makes the next when it has died."""

    def __init__(self, children: Children, stderr: int) -> None:
        self.pid = 0
        self._children = children
        self._stderr = stderr
        self._socket: socket.socket | None = None
        self._one_by_one = asyncio.Lock()
        self._up = asyncio.Event()
        self._preload: Sequence[str] | None = None
        self._untold: int | None = None

    def start(self) -> int:
        """It forks nothing before it is told what to ``preload``, once. Raises OSError."""
        self.close()
        told, self._untold = os.pipe()
        try:
            self.pid, self._socket = self._started(told)
        finally:
            os.close(told)
        if self._preload is not None:
            self.preload(self._preload)
        self._up.set()
        return self.pid

    def _started(self, told: int) -> tuple[int, socket.socket]:
        """Its pid, and our end of its socket."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        number = theirs.fileno()
        argv = [sys.executable, "-P", "-m", "anypod_worker.nursery", str(number), str(told)]
        try:
            with theirs:
                pid = self._children.start(
                    argv, keep=[number, told], stderr=self._stderr, own_session=False
                )
        except OSError:
            ours.close()
            raise
        return pid, ours

    def preload(self, modules: Sequence[str]) -> None:
        """Workers that preload these find them imported. What cannot be, they say themselves."""
        self._preload = modules
        if self._untold is not None:
            with suppress(BrokenPipeError):  # it has died, and the next is told too
                os.write(self._untold, "\n".join(modules).encode())
        self._end_telling()

    def _end_telling(self) -> None:
        if self._untold is not None:
            os.close(self._untold)
            self._untold = None

    def died(self) -> None:
        self._up.clear()

    def close(self) -> None:
        """The nursery ends when its socket does. Who waits for its answer gets an error."""
        self._end_telling()
        if self._socket is not None:
            self._socket.shutdown(socket.SHUT_RDWR)
            asyncio.get_running_loop().call_later(1, self._socket.close)
            self._socket = None

    async def spawn(
        self,
        config: WorkerConfig,
        token: str,
        listener: socket.socket,
        seconds: float,
        lm_keys: Mapping[str, str] = MappingProxyType({}),
    ) -> int:
        """The pid of a new worker, which is our child. Raises NotForked."""
        packet = _encode(Spawn(config, token, dict(lm_keys)))
        if len(packet) > MAX_PACKET_BYTES:
            raise NotForked(f"its configuration is larger than {MAX_PACKET_BYTES} bytes")
        try:
            async with asyncio.timeout(seconds):
                await self._up.wait()
                async with self._one_by_one:
                    with self._children.forking():
                        answer = await self._ask(packet, listener)
                        if answer.pid:
                            self._children.expect(answer.pid)
        except TimeoutError:
            processes.send(self.pid, signal.SIGKILL)
            raise NotForked(f"the nursery did not answer within {seconds:g} s") from None
        except (OSError, msgspec.DecodeError) as reason:
            raise NotForked(f"the nursery is gone: {reason}") from None
        if not answer.pid:
            raise NotForked(answer.error)
        return answer.pid

    async def _ask(self, packet: bytes, listener: socket.socket) -> Spawned:
        connection = self._socket
        if connection is None:
            raise ConnectionError("it has died")
        socket.send_fds(connection, [packet], [listener.fileno()])
        return _decode(await asyncio.get_running_loop().sock_recv(connection, MAX_PACKET_BYTES))
