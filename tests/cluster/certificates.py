"""One certificate authority for a cluster, and what it signs.

Elliptic keys: a whole cluster's certificates take a tenth of a second, where RSA takes seconds.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import commands

_DAYS = "365"
_EC_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
# Ours, so that the machine's openssl.cnf cannot add to what is asked for.
_CONFIG = "[req]\ndistinguished_name = name\n[name]\n"


@dataclass(frozen=True)
class Certificate:
    certificate: Path
    key: Path


class Authority:
    """The files of an authority live in one directory, which only its owner can read."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.certificate = directory / "ca.crt"
        # A bare pair of keys: the tokens that it signs are no certificates.
        self.service_accounts = Certificate(
            directory / "service-accounts.pub", directory / "service-accounts.key"
        )

    def create(self) -> None:
        self._directory.mkdir(parents=True, mode=0o700)
        (self._directory / "openssl.cnf").write_text(_CONFIG)
        self._request(
            "ca", "/CN=anypod-cluster", "basicConstraints=critical,CA:TRUE", "keyUsage=keyCertSign"
        )
        curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        signs = self.service_accounts
        _openssl("genpkey", *curve, "-out", str(signs.key))
        _openssl("pkey", "-in", str(signs.key), "-pubout", "-out", str(signs.certificate))

    def issued(self, name: str) -> Certificate:
        return Certificate(self._directory / f"{name}.crt", self._directory / f"{name}.key")

    def issue(self, name: str, subject: str, *alternative_names: str) -> Certificate:
        """``alternative_names`` as openssl writes them: ``DNS:name`` or ``IP:address``."""
        self._request(
            name,
            subject,
            "subjectAltName=" + ",".join(alternative_names or (f"DNS:{name}",)),
            "basicConstraints=critical,CA:FALSE",
            "extendedKeyUsage=serverAuth,clientAuth",
            signed=True,
        )
        return self.issued(name)

    def kubeconfig_of(self, name: str) -> Path:
        return self._directory / f"{name}.kubeconfig"

    def kubeconfig(self, name: str, server: str, context: str = "anypod-cluster") -> Path:
        """A file that holds all it needs, and so can be copied."""
        mine = self.issued(name)
        cluster = {"server": server, "certificate-authority-data": _base64(self.certificate)}
        user = {
            "client-certificate-data": _base64(mine.certificate),
            "client-key-data": _base64(mine.key),
        }
        written = self.kubeconfig_of(name)
        written.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": context,
                    "clusters": [{"name": context, "cluster": cluster}],
                    "users": [{"name": context, "user": user}],
                    "contexts": [
                        {"name": context, "context": {"cluster": context, "user": context}}
                    ],
                },
                indent=2,
            )
        )
        written.chmod(0o600)
        return written

    def _request(self, name: str, subject: str, *extensions: str, signed: bool = False) -> None:
        files = self.issued(name)
        authority = self.issued("ca")
        by = ("-CA", str(authority.certificate), "-CAkey", str(authority.key)) if signed else ()
        _openssl(
            *("req", "-x509", "-config", str(self._directory / "openssl.cnf"), *_EC_KEY),
            *("-keyout", str(files.key), "-out", str(files.certificate)),
            *("-subj", subject, "-days", _DAYS, *by),
            *(part for extension in extensions for part in ("-addext", extension)),
        )


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _openssl(*arguments: str) -> None:
    commands.run("openssl", *arguments, seconds=30)
