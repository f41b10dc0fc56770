"""How local mode has workers forked from one warm process instead of started cold.

Local mode runs ``python -m anypod_worker.nursery FD PRELOAD`` with an environment that holds no
secret. PRELOAD is one end of a pipe: modules that are imported before anything is forked, one in a
line, until the other end is closed. FD is its end of an ``AF_UNIX``/``SOCK_SEQPACKET`` pair. One
packet asks for one worker and carries the worker's listening socket (``SCM_RIGHTS``); one packet
answers. The worker is forked twice, so that it is the child of local mode, which must be a child
subreaper before it asks. When the socket ends, the nursery exits; workers go on. When local mode
dies, its workers stop at once.
"""

import msgspec

from anypod.wire.config import WorkerConfig

MAX_PACKET_BYTES = 128 * 1024


class Spawn(msgspec.Struct, frozen=True):
    config: WorkerConfig
    token: str
    """The link's secret: goes to the supervisor only."""
    lm_keys: dict[str, str] = {}
    """Of the pool's LMs: likewise."""


class Spawned(msgspec.Struct, frozen=True):
    worker: str
    pid: int = 0
    error: str = ""
    """Why there is no worker; empty when there is one."""
