"""How the etcd driver reaches its servers: one gRPC channel over all endpoints.

gRPC spreads calls over the endpoints that are up and leaves out those that are not. It takes a
list of addresses or one name; for several names we look the addresses up, and again when nothing
has worked for a while, since a server that was moved has another one.
"""

import asyncio
import ipaddress
import json
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

import grpc.aio
from etcd3aio._protobuf import WatchStub
from etcd3aio.connections import ChannelOption, ConnectionManager
from etcd3aio.kv import KVService
from etcd3aio.lease import LeaseService

from anypod.store.kv import StoreUnavailable

_LOOK_UP_SECONDS = 5.0
_LOOK_UP_AGAIN_SECONDS = 10.0

# A call that finds no connection waits for one until its deadline, unsent, instead of failing with
# the same status as a call that broke under way: so a write that fails at once was never sent.
_WAIT_FOR_READY = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [{"service": "etcdserverpb.KV"}, {"service": "etcdserverpb.Lease"}],
                "waitForReady": True,
            }
        ],
    }
)

_OPTIONS: list[ChannelOption] = [
    ("grpc.service_config", _WAIT_FOR_READY),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 250),
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
]


@dataclass(frozen=True, slots=True)
class Connection:
    channel: grpc.aio.Channel
    kv: KVService
    lease: LeaseService
    watch: WatchStub
    since: float


class Connector:
    """Gives the connection of now; every call asks again, since it may have been replaced."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        self._endpoints = list(endpoints)
        self._named = not all(_is_address(endpoint) for endpoint in endpoints)
        self._connection: Connection | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()
        self.closed = False

    async def connection(self) -> Connection:
        if self.closed:
            raise StoreUnavailable("the store is closed")
        if self._connection is not None:
            return self._connection
        async with self._lock:
            if self._connection is None:
                self._connection = _open(await self._target())
            return self._connection

    def failed(self, connection: Connection) -> None:
        """Nothing came through: look the names up again, if that may help."""
        several_names = self._named and len(self._endpoints) > 1
        old = time.monotonic() - connection.since > _LOOK_UP_AGAIN_SECONDS
        if several_names and old and connection is self._connection:
            self._connection = None
            closing = asyncio.create_task(connection.channel.close(_LOOK_UP_SECONDS))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        self.closed = True
        if self._connection is not None:
            await self._connection.channel.close()
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _target(self) -> str:
        if self._named and len(self._endpoints) == 1:
            return f"dns:///{self._endpoints[0]}"
        addresses = self._endpoints if not self._named else await self._addresses()
        scheme = "ipv6" if addresses[0].startswith("[") else "ipv4"
        return f"{scheme}:{','.join(addresses)}"

    async def _addresses(self) -> list[str]:
        found = await asyncio.gather(*(_look_up(endpoint) for endpoint in self._endpoints))
        addresses = sorted({address for group in found for address in group})
        if not addresses:
            raise StoreUnavailable(f"no address known for {', '.join(self._endpoints)}")
        return addresses


def _is_address(endpoint: str) -> bool:
    try:
        ipaddress.ip_address(endpoint.rpartition(":")[0].strip("[]"))
    except ValueError:
        return False
    return True


async def _look_up(endpoint: str) -> list[str]:
    host, _, port = endpoint.rpartition(":")
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_LOOK_UP_SECONDS):
            found = await loop.getaddrinfo(
                host.strip("[]"), int(port), family=socket.AF_INET, type=socket.SOCK_STREAM
            )
    except (OSError, TimeoutError):
        return []
    return [f"{address[0]}:{port}" for *_, address in found]


def _open(target: str) -> Connection:
    # Never taken back: gRPC ends its poller with the last channel, and would make whatever collects
    # that channel's garbage, the loop's thread included, wait for it.
    grpc.aio.init_grpc_aio()
    manager = ConnectionManager([target])
    manager.target = target
    manager.grpc_options += _OPTIONS
    channel = manager.get_channel()
    return Connection(
        channel=channel,
        kv=KVService(channel, max_attempts=1),
        lease=LeaseService(channel, max_attempts=1),
        watch=WatchStub(channel),
        since=time.monotonic(),
    )
