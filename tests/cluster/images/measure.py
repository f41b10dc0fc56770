"""How large the images are, and how long their containers take from start to ready."""

import statistics
import tempfile
from pathlib import Path

from tests.cluster.images import containers, pods
from tests.support.ports import free_port

from anypod.resources import pools_file

STARTS = 5


def worker_seconds(archive: Path) -> float:
    """Of several starts the median: container start to the first 200 of ``/readyz``."""
    return statistics.median(_worker_start(archive) for _ in range(STARTS))


def gateway_seconds(archive: Path) -> float:
    return statistics.median(_gateway_start(archive) for _ in range(STARTS))


def _worker_start(archive: Path) -> float:
    port = free_port()
    with containers.running(pods.worker(archive, port)) as worker:
        return worker.until_answers(port, "/readyz")


def _gateway_start(archive: Path) -> float:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        pools = Path(folder)
        pools.chmod(0o755)
        pools_file.write(pools / pods.POOLS_FILE, pools_file.PoolsFile())
        with containers.running(pods.gateway(archive, port, pools)) as gateway:
            return gateway.until_answers(port, "/readyz")
