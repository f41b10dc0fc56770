"""The one gateway of local mode: kept running on a socket that this process holds.

Because the socket stays open while a gateway is started again, connections of those seconds wait
and are not refused.
"""

import asyncio
import signal
import socket
from collections.abc import Callable

from anypod.local import children as child_processes
from anypod.local import processes
from anypod.local.backoff import Backoff
from anypod.local.children import Children
from anypod.local.folder import Folder


class Gateway:
    def __init__(
        self,
        listener: socket.socket,
        folder: Folder,
        store: str,
        *,
        children: Children,
        drain_seconds: float,
        log_format: str,
        tell: Callable[[str], None],
    ) -> None:
        self._listener = listener
        self._drain_seconds = drain_seconds
        self._children = children
        self._tell = tell
        self._backoff = Backoff()
        self._pid = 0
        self._ended: asyncio.Future[int] | None = None
        self._arguments = [
            *("-m", "anypod_gateway", "--listen-fd", str(listener.fileno())),
            *("--store", store, "--pools-file", str(folder.pools_file)),
            *("--link-token-file", str(folder.token_file), "--name", "local"),
            *("--drain-seconds", f"{drain_seconds:g}", "--log-format", log_format),
            "--die-with-parent",
        ]

    async def run(self) -> None:
        """For ever; cancelling it stops nothing, see ``stop``."""
        while True:
            self._pid = processes.start(
                self._arguments, inherit=[self._listener.fileno()], stderr=2
            )
            self._ended = self._children.expect(self._pid)
            stable = asyncio.get_running_loop().call_later(1.0, self._backoff.well)
            code = await asyncio.shield(self._ended)
            stable.cancel()
            pause = self._backoff.died()
            self._tell(f"the gateway ended with {code}, and is started again in {pause:g} s")
            await asyncio.sleep(pause)

    async def stop(self) -> None:
        """SIGTERM, and wait until it has drained."""
        if self._ended is None or self._ended.done():
            return
        child_processes.send(self._pid, signal.SIGTERM)
        await asyncio.wait({self._ended}, timeout=self._drain_seconds + 10)
