"""A real Kubernetes API on loopback without nodes, and the users and calls of these tests.

The controllers that make what the operator's objects become (ReplicaSets, pods, garbage collection)
are real too; there is no scheduler and no kubelet, so what pods report, tests write.
"""

import contextlib
import json
import secrets
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.control_plane import api_server

Raw = dict[str, Any]

_TOKENS = {"admin": "system:masters", "operator": "anypod:operators"}
_CONTROLLERS = (
    "deployment-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "replicaset-controller",
    "serviceaccount-controller",
)


class ApiFailure(Exception):
    def __init__(self, status: int, document: Raw) -> None:
        super().__init__(document.get("message", ""))
        self.status = status
        self.document = document


@dataclass(frozen=True)
class KubernetesApi:
    url: str
    directory: Path
    tokens: Mapping[str, str]

    def kubeconfig(self, who: str, directory: Path | None = None, url: str = "") -> Path:
        """For a user: ``admin``, or ``operator``, who has only what tests grant."""
        path = (directory or self.directory) / f"{who}.kubeconfig"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "clusters": [
                        {
                            "name": "test",
                            "cluster": {
                                "server": url or self.url,
                                "insecure-skip-tls-verify": True,
                            },
                        }
                    ],
                    "users": [{"name": who, "user": {"token": self.tokens[who]}}],
                    "contexts": [{"name": "test", "context": {"cluster": "test", "user": who}}],
                }
            )
        )
        return path

    def call(self, method: str, path: str, body: Raw | None = None, content: str = "json") -> Raw:
        """As the administrator. Raises ApiFailure."""
        request = urllib.request.Request(
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.tokens['admin']}",
                "Content-Type": f"application/{content}",
                "Accept": "application/json",
            },
        )
        try:
            with _opener().open(request, timeout=30) as answer:
                found: Raw = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            text = error.read()
            try:
                document = json.loads(text)
            except ValueError:
                document = {"message": text.decode(errors="replace")}
            raise ApiFailure(error.code, document) from None

    def get(self, path: str) -> Raw | None:
        """None when it is not there."""
        try:
            return self.call("GET", path)
        except ApiFailure as failure:
            if failure.status == 404:
                return None
            raise

    def apply(self, path: str, body: Raw, manager: str = "test") -> Raw:
        where = f"{path}?fieldManager={manager}&force=true&fieldValidation=Strict"
        return self.call("PATCH", where, body, "apply-patch+yaml")

    def merge(self, path: str, body: Raw) -> Raw:
        return self.call("PATCH", path, body, "merge-patch+json")

    def delete(self, path: str) -> None:
        with contextlib.suppress(ApiFailure):
            self.call("DELETE", path)

    def audit(self, user: str) -> list[Raw]:
        """The calls of a user, watches not among them, in order."""
        return [record for record in self._audited(user) if record["verb"] != "watch"]

    def rights_used(self, user: str) -> set[str]:
        """By a user, as ``GROUP RESOURCE VERB``."""
        return {
            f"{what.get('apiGroup', '')} {resource} {record['verb']}"
            for record in self._audited(user)
            if (what := record.get("objectRef"))
            and (resource := "/".join(filter(None, (what["resource"], what.get("subresource")))))
            and record["responseStatus"]["code"] != 403
        }

    def _audited(self, user: str) -> list[Raw]:
        lines = (self.directory / "audit.log").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        return [record for record in records if record["user"]["username"] == user]


def _opener() -> urllib.request.OpenerDirector:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting)
    )


@contextmanager
def running_api(directory: Path) -> Iterator[KubernetesApi]:
    """Ready, with its controllers; all of it ends with the block."""
    tokens = {who: secrets.token_hex(16) for who in _TOKENS}
    directory.mkdir(parents=True, exist_ok=True)
    options = _write_files(directory, tokens)
    with api_server(directory, options=options, controllers=_CONTROLLERS) as server:
        yield KubernetesApi(server.url, directory, tokens)


def _write_files(directory: Path, tokens: Mapping[str, str]) -> list[str]:
    """Who may call, and what of it is written down; the API server's options for that."""
    known, audited = directory / "tokens.csv", directory / "audit.json"
    lines = [f'{token},{who},{who},"{_TOKENS[who]}"' for who, token in tokens.items()]
    known.write_text("\n".join(lines))
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata", "users": ["operator"]}, {"level": "None"}],
    }
    audited.write_text(json.dumps(policy))
    return [
        f"--token-auth-file={known}",
        f"--audit-policy-file={audited}",
        f"--audit-log-path={directory / 'audit.log'}",
    ]
