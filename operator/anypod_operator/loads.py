"""How busy workers are, asked of themselves: their ``/metrics``, at their pods' addresses.

For two things: the counts in a pool's status, and, before a scale-in, which workers go first.

In a worker runs what its pool's people wrote, so it may answer anything. That costs what would be
known of that worker, and nothing else: no other answer, no look at a pool, no call elsewhere.
"""

import asyncio
import logging
import re
from collections.abc import Iterable

import aiohttp

from anypod.resources.names import WORKER_PORT
from anypod_operator.diagnosis import is_ready
from anypod_operator.kinds import Raw
from anypod_operator.status import Load

log = logging.getLogger(__name__)

ANSWER_SECONDS = 2.0
AT_ONCE = 64
"""Of what one asker asks, so that hundreds of silent workers are over in seconds."""
_LIMIT = 256 * 1024
_COUNT = re.compile("[0-9]{1,6}")
"""More than a worker has of anything; and what is reckoned of it, Kubernetes takes."""
_NAMES = {
    "anypod_worker_executors_busy": "busy",
    "anypod_worker_sessions": "sessions",
    "anypod_worker_sessions_busy": "busy_sessions",
}


class Loads:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ask(self, pods: Iterable[Raw], room: asyncio.Semaphore) -> dict[str, Load]:
        """Of those ready workers that answer in time; ``room``: the asker's own, of ``AT_ONCE``, so
        that no one waits for workers of which another has asked."""
        asked = [pod for pod in pods if is_ready(pod) and pod["status"].get("podIP")]
        answers = await asyncio.gather(*(self._ask(pod, room) for pod in asked))
        return {
            pod["metadata"]["name"]: load
            for pod, load in zip(asked, answers, strict=True)
            if load is not None
        }

    async def _ask(self, pod: Raw, room: asyncio.Semaphore) -> Load | None:
        address = pod["status"]["podIP"]
        host = f"[{address}]" if ":" in address else address
        try:
            async with (
                room,
                asyncio.timeout(ANSWER_SECONDS),
                self._session.get(
                    f"http://{host}:{WORKER_PORT}/metrics",
                    allow_redirects=False,
                    auto_decompress=False,
                ) as answer,
            ):
                answer.raise_for_status()
                return parse((await _whole(answer.content)).decode())
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return None
        except Exception:
            metadata = pod["metadata"]
            log.exception("worker %s/%s: its answer", metadata["namespace"], metadata["name"])
            return None


async def _whole(content: aiohttp.StreamReader) -> bytes:
    """Raises ValueError when it is far more than a worker says."""
    found = bytearray()
    async for chunk in content.iter_any():
        found += chunk
        if len(found) > _LIMIT:
            raise ValueError("an endless answer")
    return bytes(found)


def parse(text: str) -> Load:
    """Raises ValueError when it is not what a worker says."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name in _NAMES:
            if not _COUNT.fullmatch(value):
                raise ValueError(f"no count of a worker: {value[:20]!r}")
            found[_NAMES[name]] = int(value)
    if len(found) != len(_NAMES):
        raise ValueError("not the metrics of a worker")
    return Load(**found)


def deletion_cost(load: Load | None) -> int:
    """What is lost with a worker: a session's memory more than an execution, which can wait for the
    drain; one that has never answered has nothing to lose."""
    if load is None:
        return -1
    return 1000 * load.busy_sessions + 100 * load.sessions + 10 * load.busy
