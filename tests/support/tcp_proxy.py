"""A TCP connection that a test can break: forwards to a port, until it is cut."""

import asyncio
from types import TracebackType


async def accept_no_more(server: asyncio.Server) -> None:
    """Before it is closed: a connection that asyncio has accepted but not begun to serve by then is
    never closed."""
    for listening in server.sockets:
        asyncio.get_running_loop().remove_reader(listening.fileno())
    for _ in range(3):  # turns in which a task makes a transport, which tells its protocol
        await asyncio.sleep(0)


class TcpProxy:
    """``async with TcpProxy(port) as proxy``: connect to ``proxy.port`` instead."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._passes = asyncio.Event()
        self._passes.set()
        self.port = 0

    async def __aenter__(self) -> "TcpProxy":
        await self.restore()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.cut()

    async def cut(self) -> None:
        """Break all connections, those that are being made too, and refuse new ones."""
        server, self._server = self._server, None
        if server is None:
            return
        await accept_no_more(server)
        server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await server.wait_closed()
        await asyncio.sleep(0)  # in which aborted connections are closed

    async def restore(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def freeze(self) -> None:
        """The connections that there are stay open, and carry nothing any more; new ones do."""
        self._passes.clear()
        self._passes = asyncio.Event()
        self._passes.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        self._writers.add(writer)
        passes = self._passes
        back: asyncio.StreamWriter | None = None
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(back)
            await asyncio.gather(_forward(reader, back, passes), _forward(there, writer, passes))
        except OSError:
            return
        finally:
            for one in filter(None, (writer, back)):
                self._writers.discard(one)
                one.transport.abort()


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: asyncio.Event
) -> None:
    while data := await reader.read(64 * 1024):
        await passes.wait()
        writer.write(data)
        await writer.drain()
    writer.transport.abort()
