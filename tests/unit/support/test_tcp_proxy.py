"""The proxy breaks what goes through it, and leaves nothing behind."""

import asyncio
import gc
import socket

from tests.support.tcp_proxy import TcpProxy


async def test_a_connection_that_comes_as_the_proxy_is_cut_is_closed() -> None:
    """An unclosed one is a warning, and so an error."""
    async with TcpProxy(1) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port)):
            # In the next turn of the loop it is accepted, and we go on in that after it.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await proxy.cut()
            await asyncio.sleep(0)
            gc.collect()
