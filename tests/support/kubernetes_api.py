"""A real Kubernetes API on loopback without nodes, and the users and calls of these tests.

The controllers that make what the operator's objects become (ReplicaSets, pods, garbage collection)
are real too; there is no scheduler and no kubelet, so what pods report, tests write.
"""

import contextlib
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import urllib3
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
        answer = self._connections.request(
            method,
            f"{self.url}{path}",
            body=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.tokens['admin']}",
                "Content-Type": f"application/{content}",
                "Accept": "application/json",
            },
            retries=False,
            timeout=30,
        )
        if answer.status >= 400:
            try:
                document = json.loads(answer.data)
            except ValueError:
                document = {"message": answer.data.decode(errors="replace")}
            raise ApiFailure(answer.status, document)
        found: Raw = json.loads(answer.data)
        return found

    @cached_property
    def _connections(self) -> urllib3.PoolManager:
        """Kept: tests look often, and greeting each other costs both sides more than the answer."""
        return urllib3.PoolManager(ca_certs=str(self.directory / "certificates" / "ca.crt"))

    def close(self) -> None:
        self._connections.clear()

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


@contextmanager
def running_api(directory: Path) -> Iterator[KubernetesApi]:
    """Ready, with its controllers; all of it ends with the block."""
    tokens = {who: secrets.token_hex(16) for who in _TOKENS}
    directory.mkdir(parents=True, exist_ok=True)
    options = _write_files(directory, tokens)
    with (
        api_server(directory, options=options, controllers=_CONTROLLERS) as server,
        contextlib.closing(KubernetesApi(server.url, directory, tokens)) as api,
    ):
        yield api


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
