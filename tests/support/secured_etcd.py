"""A real etcd that asks for certificates and passwords, as the chart's does."""

import asyncio
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from etcd3aio import Etcd3Client
from etcd3aio.auth import PermissionType
from tests.cluster.certificates import Authority
from tests.support.etcd import EtcdServer

from anypod.store.etcd_security import EtcdSecurity

USER = "anypod"
ROOT = "root"
PREFIXES = ("/anypod/", "/w/")
"""What the user may read and write."""


class SecuredEtcd(EtcdServer):
    """TLS for both sides; ``enable_authentication`` adds users. ``files`` are a client's."""

    scheme = "https"

    def __init__(self, directory: Path, token_seconds: int = 300, cn: str = "gateway") -> None:
        super().__init__(directory)
        self._token_seconds = token_seconds
        self._cn = cn
        self._generation = 0
        self.files = directory / "client"
        self.files.mkdir()
        self.new_authority()
        self.write_password("first")

    @property
    def security(self) -> EtcdSecurity:
        return EtcdSecurity(
            ca=self.files / "ca.crt",
            cert=self.files / "tls.crt",
            key=self.files / "tls.key",
            user=USER,
            password_file=self.files / "password",
        )

    @property
    def without_user(self) -> EtcdSecurity:
        mine = self.security
        return EtcdSecurity(ca=mine.ca, cert=mine.cert, key=mine.key)

    def new_authority(self, *names: str) -> None:
        """Other certificates for all, from the server's next start on; ``names``: the server's."""
        self._generation += 1
        self._authority = Authority(self._directory / f"certificates-{self._generation}")
        self._authority.create()
        self._authority.issue("server", "/CN=etcd", *(names or ("IP:127.0.0.1", "DNS:localhost")))
        self._authority.issue("client", f"/CN={self._cn}")
        mine = self._authority.issued("client")
        for name, source in (
            ("ca.crt", self._authority.certificate),
            ("tls.crt", mine.certificate),
            ("tls.key", mine.key),
        ):
            (self.files / name).write_bytes(source.read_bytes())

    def write_password(self, password: str) -> None:
        (self.files / "password").write_text(f"{password}\n")

    def more_options(self) -> dict[str, str]:
        server = self._authority.issued("server")
        return {
            "cert-file": str(server.certificate),
            "key-file": str(server.key),
            "trusted-ca-file": str(self._authority.certificate),
            "client-cert-auth": "true",
            "auth-token": "simple",
            "auth-token-ttl": str(self._token_seconds),
        }

    def more_handlers(self) -> list[urllib.request.BaseHandler]:
        mine = self._authority.issued("client")
        trust = ssl.create_default_context(cafile=str(self._authority.certificate))
        trust.check_hostname = False
        trust.load_cert_chain(mine.certificate, mine.key)
        return [urllib.request.HTTPSHandler(context=trust)]

    async def enable_authentication(self) -> None:
        client = self._client()
        async with client:
            assert client.auth is not None
            await client.auth.user_add(ROOT, "root-password")
            await client.auth.role_add(ROOT)
            await client.auth.user_grant_role(ROOT, ROOT)
            await client.auth.user_add(USER, "first")
            await client.auth.role_add(USER)
            for prefix in PREFIXES:
                end = prefix[:-1] + "0"
                await client.auth.role_grant_permission(
                    USER, prefix, end, perm_type=PermissionType.READWRITE
                )
            await client.auth.user_grant_role(USER, USER)
            await client.auth.auth_enable()

    async def as_root(self, call: str, *arguments: Any) -> None:
        client = self._client()
        async with client:
            assert client.auth is not None
            told = await client.auth.authenticate(ROOT, "root-password")
            client.set_token(told.token)
            await getattr(client.auth, call)(*arguments, timeout=10)

    def _client(self) -> Etcd3Client:
        mine = self._authority.issued("client")
        return Etcd3Client(
            [self.endpoint],
            ca_cert=self._authority.certificate.read_bytes(),
            cert_key=mine.key.read_bytes(),
            cert_chain=mine.certificate.read_bytes(),
        )


@contextmanager
def secured_etcd(directory: Path, **options: Any) -> Iterator[SecuredEtcd]:
    """Started, with authentication on; killed at the end."""
    directory.mkdir(parents=True)
    server = SecuredEtcd(directory, **options)
    server.start()
    try:
        asyncio.run(server.enable_authentication())
        yield server
    finally:
        server.kill()
