"""How etcd knows us and we know it: certificates and a password, in files that may be rotated."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Credentials:
    """What was in the files, once."""

    ca: bytes | None = None
    cert: bytes | None = None
    key: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class EtcdSecurity:
    """Without any of it: plain connections, and nobody in particular."""

    ca: Path | None = None
    """Who signed the certificates of the servers; there is TLS if this is given."""
    cert: Path | None = None
    key: Path | None = None
    server_name: str = ""
    """In the certificate of every server; empty for the name by which it is reached."""
    user: str = ""
    password_file: Path | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ValueError("etcd: a certificate needs its key, and a key its certificate")
        if self.ca is None and (self.cert is not None or self.server_name):
            raise ValueError("etcd: there is TLS only with --etcd-ca")
        if bool(self.user) != (self.password_file is not None):
            raise ValueError("etcd: a user needs a file with the password, and that its user")

    @property
    def is_given(self) -> bool:
        return self != EtcdSecurity()

    def read(self) -> Credentials:
        """Blocks. Raises OSError."""
        return Credentials(_bytes(self.ca), _bytes(self.cert), _bytes(self.key))

    def password(self) -> str:
        """Blocks. Raises OSError, UnicodeDecodeError."""
        assert self.password_file is not None
        return self.password_file.read_text("utf-8").rstrip("\r\n")

    def check(self) -> None:
        """That every file is there. Blocks. Raises ValueError."""
        try:
            self.read()
            if self.user:
                self.password()
        except (OSError, UnicodeDecodeError) as reason:
            raise ValueError(f"etcd: {reason}") from None


def _bytes(file: Path | None) -> bytes | None:
    return file.read_bytes() if file is not None else None
