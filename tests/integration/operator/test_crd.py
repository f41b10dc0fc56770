"""The API server itself refuses what makes no sense, names the field, and explains the rest."""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster import versions
from tests.cluster.binaries import kubernetes_binaries
from tests.support.bad_pools import BAD, Bad
from tests.support.kubernetes_api import ApiFailure, KubernetesApi
from tests.support.operated import Namespace

from anypod.resources import crd


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.what)
def test_a_bad_manifest_is_refused_and_the_field_is_named(space: Namespace, bad: Bad) -> None:
    body = {
        "apiVersion": "anypod.dev/v1alpha1",
        "kind": "WorkerPool",
        "metadata": {"name": bad.name},
        "spec": bad.spec,
    }
    path = space.pool_path("").removesuffix("/")
    with pytest.raises(ApiFailure) as refused:
        space.api.call("POST", f"{path}?fieldValidation=Strict", body)
    assert refused.value.status in (400, 422)
    assert bad.field in str(refused.value)
    assert space.api.call("GET", path)["items"] == []


def test_defaults_are_filled_in(space: Namespace) -> None:
    spec = space.apply(limits={"timeoutSeconds": 5})["spec"]
    assert spec["replicas"] == 2
    assert spec["limits"]["timeoutSeconds"] == 5
    assert spec["limits"]["memory"] == "1Gi"
    assert spec["network"]["egress"] == "internet"


def test_any_field_of_a_pod_may_stand_in_the_template(space: Namespace) -> None:
    template = {"spec": {"tolerations": [{"key": "a", "operator": "Exists"}], "future": {"x": 1}}}
    assert space.apply(template=template)["spec"]["template"]["spec"] == template["spec"]


def test_the_scale_subresource_changes_replicas(space: Namespace) -> None:
    space.apply(replicas=2)
    path = f"{space.pool_path('pool')}/scale"
    assert space.api.call("GET", path)["spec"]["replicas"] == 2
    space.api.merge(path, {"spec": {"replicas": 5}})
    assert space.pool()["spec"]["replicas"] == 5


def test_two_variables_merge_by_name(space: Namespace) -> None:
    space.apply(env=[{"name": "A", "value": "1"}])
    path = space.pool_path("pool")
    body = {
        "apiVersion": "anypod.dev/v1alpha1",
        "kind": "WorkerPool",
        "metadata": {"name": "pool"},
        "spec": {"env": [{"name": "B", "value": "2"}]},
    }
    merged = space.api.apply(path, body, manager="another")
    assert [one["name"] for one in merged["spec"]["env"]] == ["A", "B"]


def kubectl(api: KubernetesApi, *arguments: str) -> str:
    program = kubernetes_binaries(versions.kubernetes()).path("kubectl")
    command = [str(program), f"--kubeconfig={api.kubeconfig('admin')}", *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"HOME": str(api.kubeconfig("admin").parent)},  # it keeps what it has discovered
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def property_names(schema: dict[str, Any]) -> Iterator[str]:
    """And those within."""
    for name, inner in schema.get("properties", {}).items():
        yield name
        yield from property_names(inner)
    if "items" in schema:
        yield from property_names(schema["items"])


def test_kubectl_explains_every_field(api: KubernetesApi) -> None:
    text = kubectl(api, "explain", "wp.spec", "--recursive")
    told = {line.split("\t")[0].strip() for line in text.splitlines() if "\t" in line}
    (version,) = crd.definition()["spec"]["versions"]
    names = set(property_names(version["schema"]["openAPIV3Schema"]["properties"]["spec"]))
    assert len(names) > 50
    assert names <= told
    text = kubectl(api, "explain", "wp.spec.sessions.onWorkerLoss")
    assert "Go on from the stored state on another worker, or answer 410." in " ".join(text.split())
    assert "ENUM: restore fail" in " ".join(text.split())


def test_kubectl_shows_what_a_person_wants_to_know(space: Namespace) -> None:
    space.apply(replicas=3)
    heading, row = kubectl(space.api, "get", "wp", "-n", space.name).splitlines()
    assert heading.split() == ["NAME", "READY", "DESIRED", "BUSY", "SESSIONS", "STATE", "AGE"]
    assert row.split()[0] == "pool"
    assert "3" in row.split()
