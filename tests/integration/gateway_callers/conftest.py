"""One API server for the tests of tokens, and a kubeconfig that may do what a gateway may."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.control_plane import ApiServer, api_server
from tests.support.built import why_no_api_yet

NAMESPACE = "callers"


@dataclass(frozen=True)
class Kubernetes:
    server: ApiServer
    kubeconfig: Path
    """Of a gateway: it may ask for reviews, and nothing else."""

    @property
    def port(self) -> int:
        return int(self.server.url.rpartition(":")[2])

    def kubectl(self, *arguments: str, **options: Any) -> str:
        return self.server.kubectl(f"--namespace={NAMESPACE}", *arguments, **options)

    def account(self, name: str, *rules: dict[str, Any], audience: str = "") -> str:
        """The token of a new service account that may do this."""
        self.kubectl("create", "serviceaccount", name)
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": name}}
        subject = {"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        objects = [
            {**role, "kind": "Role", "rules": list(rules)},
            {**role, "kind": "RoleBinding", "roleRef": reference, "subjects": [subject]},
        ]
        listed = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.kubectl("apply", "-f", "-", input=json.dumps(listed))
        return self.token(name, audience)

    def token(self, name: str, audience: str = "") -> str:
        options = (f"--audience={audience}",) if audience else ()
        return self.kubectl("create", "token", name, *options).strip()


def rule(*subresources: str, verb: str = "create", pools: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "apiGroups": ["anypod.dev"],
        "resources": [f"workerpools/{one}" for one in subresources],
        "verbs": [verb],
        **({"resourceNames": list(pools)} if pools else {}),
    }


@pytest.fixture(scope="session")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubernetes]:
    reason = why_no_api_yet()
    if reason is not None:
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("kubernetes")
    with api_server(directory) as server:
        server.kubectl("create", "namespace", NAMESPACE)
        made = Kubernetes(server, directory / "gateway.kubeconfig")
        token = made.account("gateway")
        server.kubectl(
            *("create", "clusterrolebinding", "gateway", "--clusterrole=system:auth-delegator"),
            f"--serviceaccount={NAMESPACE}:gateway",
        )
        config = json.loads(server.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": token}
        made.kubeconfig.write_text(json.dumps(config))
        yield made
