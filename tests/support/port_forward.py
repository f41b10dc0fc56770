"""The way to what runs in a cluster: through its API server, as on every provider."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.cluster import Cluster
from tests.cluster.kubectl import find_kubectl

_FORWARDING = re.compile(rb"Forwarding from 127\.0\.0\.1:(\d+)")


@asynccontextmanager
async def forwarded(
    cluster: Cluster, namespace: str, what: str, port: int, *, seconds: float
) -> AsyncIterator[str]:
    """The URL of a port of ``what``; ``seconds``: for the way to open."""
    process = await asyncio.create_subprocess_exec(
        str(find_kubectl()),
        f"--kubeconfig={cluster.kubeconfig}",
        f"--namespace={namespace}",
        *("port-forward", what, f":{port}"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(seconds):
            found = _FORWARDING.search(await process.stdout.readline())
        assert found is not None
        yield f"http://127.0.0.1:{found[1].decode()}"
    finally:
        process.kill()
        await process.wait()
