"""How the etcd driver reaches its servers: one gRPC channel over all endpoints.

gRPC spreads calls over the endpoints that are up and leaves out those that are not. It takes a
list of addresses or one name; for several names we look the addresses up, and again when nothing
has worked for a while, since a server that was moved has another one. A channel keeps the
certificates that it was made with, so it is made anew when calls fail and the files have changed.
"""

import asyncio
import ipaddress
import json
import logging
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

import grpc.aio
from etcd3aio._protobuf import WatchStub
from etcd3aio.connections import ChannelOption, ConnectionManager
from etcd3aio.kv import KVService
from etcd3aio.lease import LeaseService

from anypod.store.etcd_login import Login
from anypod.store.etcd_security import Credentials, EtcdSecurity
from anypod.store.kv import StoreUnavailable

log = logging.getLogger(__name__)

_LOOK_UP_SECONDS = 5.0
_LOOK_UP_AGAIN_SECONDS = 10.0
_READ_AGAIN_SECONDS = 1.0

# A call that finds no connection waits for one until its deadline, unsent, instead of failing with
# the same status as a call that broke under way: so a write that fails at once was never sent.
_WAIT_FOR_READY = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [
                    {"service": "etcdserverpb.KV"},
                    {"service": "etcdserverpb.Lease"},
                    {"service": "etcdserverpb.Auth"},
                ],
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
    credentials: Credentials
    login: Login | None
    """None for nobody in particular."""
    since: float

    async def log_in(self) -> None:
        """So that calls bear a token, if there is to be one. Raises as ``Login.done``."""
        if self.login is not None:
            token = await self.login.done()
            self.kv.set_token(token)
            self.lease.set_token(token)

    @property
    def token(self) -> str:
        return (self.login.token if self.login is not None else None) or ""

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """For calls past the services."""
        return (("token", self.token),) if self.token else ()

    async def close(self, grace: float | None = None) -> None:
        if self.login is not None:
            await self.login.close()
        await self.channel.close(grace)


class Connector:
    """Gives the connection of now; every call asks again, since it may have been replaced."""

    def __init__(
        self,
        endpoints: Sequence[str],
        security: EtcdSecurity = EtcdSecurity(),  # noqa: B008
    ) -> None:
        self._endpoints = list(endpoints)
        self._security = security
        self._suspect = False
        self._read_at = float("-inf")
        self._named = not all(_is_address(endpoint) for endpoint in endpoints)
        self._connection: Connection | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()
        self.closed = False

    async def connection(self) -> Connection:
        if self.closed:
            raise StoreUnavailable("the store is closed")
        if self._connection is not None and not self._suspect:
            return self._connection
        async with self._lock:
            if self._suspect and self._connection is not None:
                await self._read_again(self._connection)
            if self._connection is None:
                self._connection = self._open(await self._target(), await self._credentials())
            return self._connection

    def failed(self, connection: Connection) -> None:
        """Nothing came through: look the names and the files up again, if that may help."""
        if connection is not self._connection:
            return
        now = time.monotonic()
        several_names = self._named and len(self._endpoints) > 1
        if several_names and now - connection.since > _LOOK_UP_AGAIN_SECONDS:
            self._replace(connection)
        elif self._security.ca is not None and now - self._read_at > _READ_AGAIN_SECONDS:
            self._suspect = True

    async def close(self) -> None:
        self.closed = True
        if self._connection is not None:
            await self._connection.close()
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _read_again(self, connection: Connection) -> None:
        self._suspect, self._read_at = False, time.monotonic()
        try:
            now = await self._credentials()
        except StoreUnavailable as reason:
            log.warning("%s; those from before are used", reason)
            return
        if now != connection.credentials:
            log.info("etcd's certificates have changed; a new connection is made with them")
            self._replace(connection)

    def _replace(self, connection: Connection) -> None:
        self._connection = None
        closing = asyncio.create_task(connection.close(_LOOK_UP_SECONDS))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _credentials(self) -> Credentials:
        if self._security.ca is None:
            return Credentials()
        try:
            return await asyncio.to_thread(self._security.read)
        except OSError as reason:
            raise StoreUnavailable(f"the certificates for etcd: {reason}") from None

    def _open(self, target: str, credentials: Credentials) -> Connection:
        # Never taken back: gRPC ends its poller with the last channel, and would make whatever
        # collects that channel's garbage, the loop's thread included, wait for it.
        grpc.aio.init_grpc_aio()
        manager = ConnectionManager([target])
        manager.target = target
        manager.grpc_options += _OPTIONS
        channel = manager.get_channel(
            ca_cert=credentials.ca,
            cert_key=credentials.key,
            cert_chain=credentials.cert,
            tls_server_name=self._server_name(),
        )
        return Connection(
            channel=channel,
            kv=KVService(channel, max_attempts=1),
            lease=LeaseService(channel, max_attempts=1),
            watch=WatchStub(channel),
            credentials=credentials,
            login=Login(channel, self._security) if self._security.user else None,
            since=time.monotonic(),
        )

    def _server_name(self) -> str | None:
        """gRPC knows one name for all addresses of a channel; for one endpoint it is that one's."""
        if self._security.server_name:
            return self._security.server_name
        if len(self._endpoints) == 1:
            return None
        return self._endpoints[0].rpartition(":")[0].strip("[]")

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
