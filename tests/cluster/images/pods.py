"""A worker, a gateway and an etcd in containers of their images, started as their pods would be."""

from pathlib import Path
from typing import Any

import msgspec
from tests.cluster.images.containers import Order

from anypod.wire.config import WorkerConfig

TOKEN = "the-link-secret-of-this-test"
TOKEN_FILE = "/run/anypod/token"
POOLS_FOLDER = "/run/anypod-pools"
POOLS_FILE = "pools.json"


def worker(archive: Path, port: int, **changes: Any) -> Order:
    """Listens on loopback; ``changes`` are of its configuration."""
    told: dict[str, Any] = {"worker": "w1", "pool": "default", "port": port, "drain_seconds": 5.0}
    config = WorkerConfig(**(told | changes))
    return Order(
        archive,
        arguments=["--token-file", TOKEN_FILE],
        env={"ANYPOD_WORKER_CONFIG": msgspec.json.encode(config).decode()},
        files={TOKEN_FILE: TOKEN},
    )


def gateway(archive: Path, port: int, pools: Path, store: str = "sqlite:/tmp/store.db") -> Order:
    """``pools`` is a folder of this machine with the pools file; it may change."""
    return Order(
        archive,
        arguments=[
            *("anypod_gateway", "--listen", f"127.0.0.1:{port}", "--store", store),
            *("--pools-file", f"{POOLS_FOLDER}/{POOLS_FILE}", "--link-token-file", TOKEN_FILE),
        ],
        files={TOKEN_FILE: TOKEN},
        folders={POOLS_FOLDER: pools},
    )


def etcd(archive: Path, client_port: int, peer_port: int) -> Order:
    client, peer = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
    options = {
        "name": "test",
        "data-dir": "/tmp/data",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"test={peer}",
    }
    return Order(archive, ["etcd", *(f"--{name}={value}" for name, value in options.items())])
