"""The process from which local workers are forked; see ``anypod.wire.nursery``."""

import asyncio
import socket

import msgspec

from anypod.local import processes
from anypod.local.children import Children
from anypod.wire import nursery as wire
from anypod.wire.config import WorkerConfig

SPAWN_SECONDS = 30.0

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(wire.Spawned).decode


class NurseryGone(Exception):
    """It died, or does not answer; a new one is started for the next worker."""


class Nursery:
    def __init__(self, children: Children, log: int) -> None:
        """``log`` is where it and its workers write."""
        self._children = children
        self._log = log
        self._socket: socket.socket | None = None
        self._ended: asyncio.Future[int] | None = None
        self._turn = asyncio.Lock()

    async def spawn(self, config: WorkerConfig, token: str) -> tuple[int, int]:
        """A new worker: its pid, and the port that it listens on. Raises NurseryGone."""
        with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
            port = int(listener.getsockname()[1])
            config = msgspec.structs.replace(config, host="127.0.0.1", port=port)
            async with self._turn:
                with self._children.birth():
                    told = await self._ask(wire.Spawn(config, token), listener)
                    if told.error:
                        raise NurseryGone(told.error)
                    return told.pid, port

    async def _ask(self, request: wire.Spawn, listener: socket.socket) -> wire.Spawned:
        end = self._started()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(SPAWN_SECONDS):
                socket.send_fds(end, [_encode(request)], [listener.fileno()])
                packet = await loop.sock_recv(end, wire.MAX_PACKET_BYTES)
        except (OSError, TimeoutError) as error:
            self.close()
            raise NurseryGone(f"the nursery does not answer: {error!r}") from error
        if not packet:
            self.close()
            raise NurseryGone("the nursery died")
        return _decode(packet)

    def _started(self) -> socket.socket:
        if self._socket is not None and self._ended is not None and not self._ended.done():
            return self._socket
        self.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            ours.setblocking(False)
            arguments = ["-m", "anypod_worker.nursery", str(theirs.fileno())]
            pid = processes.start(arguments, inherit=[theirs.fileno()], stderr=self._log)
        self._ended = self._children.expect(pid)
        self._socket = ours
        return ours

    def close(self) -> None:
        """It exits by itself; workers go on."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
