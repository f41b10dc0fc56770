"""The API server without nodes: what the operator's tests rely on."""

import json
from pathlib import Path

import pytest
from tests.cluster import versions
from tests.cluster.control_plane import ApiServer, api_server
from tests.cluster.kubectl import KubectlError
from tests.cluster.waiting import wait_until

pytestmark = pytest.mark.timeout(3600)  # the first run on a machine builds Kubernetes

_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "waiting"},
    "spec": {"containers": [{"name": "main", "image": "localhost/nothing"}]},
}


def test_it_is_the_release_that_was_asked_for(api: ApiServer) -> None:
    said = json.loads(api.kubectl("version", "-o", "json"))["serverVersion"]
    assert said["gitVersion"] == versions.kubernetes().version


def test_objects_are_kept_and_a_pod_needs_no_service_account(api: ApiServer) -> None:
    api.kubectl("create", "namespace", "kept")
    api.kubectl("-n", "kept", "apply", "-f", "-", input=json.dumps(_POD))
    pod = json.loads(api.kubectl("-n", "kept", "get", "pod", "waiting", "-o", "json"))
    assert pod["status"]["phase"] == "Pending"


def test_access_is_by_roles(api: ApiServer) -> None:
    def may() -> bool:
        try:
            api.kubectl("--as=stranger", "get", "pods", "--namespace=default")
        except KubectlError:
            return False
        return True

    with pytest.raises(KubectlError, match="Forbidden"):
        api.kubectl("--as=stranger", "get", "pods", "--namespace=default")
    api.kubectl("create", "clusterrole", "seer", "--verb=list", "--resource=pods")
    api.kubectl("create", "clusterrolebinding", "seen", "--clusterrole=seer", "--user=stranger")
    wait_until(may, "the role counts", 30)


def test_custom_resources_are_served(api: ApiServer) -> None:
    names = {"plural": "things", "singular": "thing", "kind": "Thing"}
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.test.example"},
        "spec": {
            "group": "test.example",
            "scope": "Namespaced",
            "names": names,
            "versions": [version],
        },
    }
    api.kubectl("apply", "-f", "-", input=json.dumps(definition))
    api.kubectl("wait", "--for=condition=Established", "crd/things.test.example")
    thing = {"apiVersion": "test.example/v1", "kind": "Thing", "metadata": {"name": "one"}}
    api.kubectl("apply", "-f", "-", input=json.dumps(thing))
    assert "one" in api.kubectl("get", "things", "-o", "name")


def test_two_run_side_by_side_and_nothing_listens_after_the_end(
    api: ApiServer, tmp_path: Path
) -> None:
    with api_server(tmp_path) as second:
        assert second.url != api.url
        second.kubectl("create", "namespace", "second")
        assert "second" not in api.kubectl("get", "namespaces", "-o", "name")
    with pytest.raises(KubectlError, match="refused"):
        second.kubectl("get", "namespaces")
