"""Looking up the names of receivers, apart from all else that waits in threads.

The threads of the loop's own executor are few, and a name whose server does not answer takes one
for half a minute: a caller could hold up what the gateway reads from files by that.
"""

import asyncio
import socket
import threading
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

MOST_AT_ONCE = 16
"""In this process; more wait, within the deadline of their attempts."""


class Names(AbstractResolver):
    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        await self._slots.acquire()
        found: asyncio.Future[list[Any]] = loop.create_future()
        asked = (host, port, family)
        # A daemon: the process does not wait for it at its end.
        thread = threading.Thread(target=self._look_up, args=(loop, found, asked), daemon=True)
        try:
            thread.start()
        except RuntimeError as full:
            self._slots.release()
            raise OSError(str(full)) from None
        infos = await found
        return [
            ResolveResult(
                hostname=host,
                host=address[0],
                port=port,
                family=family_,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for family_, _, protocol, _, address in infos
        ]

    def _look_up(
        self,
        loop: asyncio.AbstractEventLoop,
        found: "asyncio.Future[list[Any]]",
        asked: tuple[str, int, int],
    ) -> None:
        host, port, family = asked
        try:
            result: Any = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        except (OSError, UnicodeError) as failure:
            result = failure
        try:
            loop.call_soon_threadsafe(self._tell, found, result)
        except RuntimeError:
            return  # the loop has ended meanwhile

    def _tell(self, found: "asyncio.Future[list[Any]]", result: Any) -> None:
        self._slots.release()
        if found.done():  # whoever asked has given up
            return
        if isinstance(result, UnicodeError):
            found.set_exception(socket.gaierror(socket.EAI_NONAME, "no name"))
        elif isinstance(result, OSError):
            found.set_exception(result)
        else:
            found.set_result(result)

    async def close(self) -> None:
        pass
