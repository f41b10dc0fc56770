"""Which namespaces an operator serves, and with which rights."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.kubernetes_api import KubernetesApi
from tests.support.operated import (
    CRDS,
    Namespace,
    grant,
    install_crd,
    namespace,
    revoke,
    until,
)
from tests.support.operator_process import OperatorProcess

from anypod.resources.crd import definition

INTEGER = {"type": "integer"}


@pytest.fixture
def three(api: KubernetesApi) -> Iterator[list[Namespace]]:
    with namespace(api) as first, namespace(api) as second, namespace(api) as third:
        yield [first, second, third]


@pytest.fixture
def rights_in_two(three: list[Namespace]) -> Iterator[None]:
    """In the first two, and nowhere else."""
    api = three[0].api
    revoke(api)
    grant(api, (three[0].name, three[1].name))
    try:
        yield
    finally:
        grant(api)


@pytest.mark.usefixtures("rights_in_two")
def test_with_rights_in_its_namespaces_it_serves_them_and_no_other(
    three: list[Namespace], tmp_path: Path
) -> None:
    first, second, third = three
    options = [option for one in (first, second) for option in ("--namespace", one.name)]
    operator = OperatorProcess(first.api, tmp_path, *options)
    operator.start()
    try:
        for space in three:
            space.apply(replicas=2)
        first.until_children()
        second.until_children()
        assert third.child("Deployment") is None
        first.api.delete(first.child_path("Service"))
        until(lambda: first.child("Service"), "the Service is made again")
        first.until_ready()
    finally:
        operator.kill()
    # Of other tests' namespaces, which are being deleted, it is refused what it repairs there.
    refused = [
        call["requestURI"]
        for call in first.api.audit("operator")
        if call["responseStatus"]["code"] == 403
        and any(f"/{space.name}/" in call["requestURI"] for space in three)
    ]
    assert refused == []


def test_a_namespace_that_is_deleted_does_not_hold_up_the_others(
    api: KubernetesApi, tmp_path: Path
) -> None:
    """Its Role goes with it, so it may not even be read any more."""
    with namespace(api) as first, namespace(api) as second:
        revoke(api)
        grant(api, (first.name, second.name))
        options = ("--namespace", first.name, "--namespace", second.name)
        operator = OperatorProcess(api, tmp_path, *options, "--resync-seconds", "1")
        path = f"/api/v1/namespaces/{second.name}"
        try:
            api.delete(path)
            until(lambda: api.get(path) is None, "the namespace is gone")
            operator.start()
            first.apply(replicas=1)
            first.until_children()
            assert operator.log.count(f"namespace {second.name} cannot be read") == 1
            api.call("POST", "/api/v1/namespaces", {"metadata": {"name": second.name}})
            grant(api, (second.name,))
            second.apply(replicas=1)
            second.until_children()
            again = f"namespace {second.name} can be read again"
            until(lambda: again in operator.log, "it says so")
        finally:
            operator.kill()
            grant(api)


def url_of(space: Namespace) -> str:
    return str(until(lambda: space.pool().get("status", {}).get("url"), "the pool has a URL"))


def test_pools_of_one_name_in_two_namespaces_are_two(
    three: list[Namespace], tmp_path: Path
) -> None:
    first, second, _ = three
    operator = OperatorProcess(first.api, tmp_path, "--home", first.name)
    operator.start()
    try:
        first.apply(replicas=1)
        second.apply(replicas=2)
        one, two = first.until_children(), second.until_children()
        assert url_of(first).endswith("/v1/pools/pool")
        assert url_of(second).endswith(f"/v1/pools/pool.{second.name}")
        assert one["Secret"]["data"] != two["Secret"]["data"]
        first.delete_pool()
        first.until_gone()
        assert second.child("Deployment") is not None
        assert one["Service"]["spec"]["selector"] == two["Service"]["spec"]["selector"]
    finally:
        operator.kill()


def test_a_missing_permission_ends_in_a_condition(three: list[Namespace], tmp_path: Path) -> None:
    space = three[0]
    role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/operator"
    rules = space.api.call("GET", role)["rules"]
    less = [
        {**rule, "verbs": ["get", "list", "watch"]}
        if rule["resources"] == ["networkpolicies"]
        else rule
        for rule in rules
    ]
    space.api.merge(role, {"rules": less})
    operator = OperatorProcess(space.api, tmp_path, "--namespace", space.name)
    try:
        operator.start()
        space.apply()
        condition = space.until_condition("Degraded", "True", "Forbidden")
        assert "networkpolicies" in condition["message"]
        assert space.child("Deployment") is None, "no pods without their policy"
    finally:
        operator.kill()
        space.api.merge(role, {"rules": rules})


def test_a_newer_custom_resource_is_no_trouble_to_an_operator_that_is_still_the_older(
    three: list[Namespace], tmp_path: Path
) -> None:
    """As it is in every upgrade for a moment."""
    space = three[0]
    newer = json.loads(json.dumps(definition()))
    (version,) = newer["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    spec["later"] = {"type": "object", "default": {"depth": 7}, "properties": {"depth": INTEGER}}
    operator = OperatorProcess(space.api, tmp_path, "--namespace", space.name)
    try:
        space.api.apply(f"{CRDS}/workerpools.anypod.dev", newer)
        until(lambda: "later" in space.apply(replicas=2)["spec"], "it fills in the new field")
        operator.start()
        space.until_ready()
        assert space.condition("Degraded")["status"] == "False"
        assert "passes over spec.later" in operator.log
    finally:
        operator.kill()
        install_crd(space.api)


def test_it_waits_for_the_crd_and_names_what_an_old_one_lacks(
    three: list[Namespace], tmp_path: Path
) -> None:
    space = three[0]
    api = space.api
    api.delete(f"{CRDS}/workerpools.anypod.dev")
    until(lambda: api.get("/apis/anypod.dev/v1alpha1") is None, "the CRD is gone")
    operator = OperatorProcess(api, tmp_path, "--namespace", space.name)
    try:
        operator.start(wait=False)
        until(lambda: "the cluster has no workerpools" in operator.log, "it says what lacks")
        old = json.loads(json.dumps(definition()))
        (version,) = old["spec"]["versions"]
        properties = version["schema"]["openAPIV3Schema"]["properties"]
        del properties["spec"]["properties"]["network"]
        del properties["spec"]["default"]["network"]
        del properties["status"]["properties"]["timeToReady"]
        api.apply(f"{CRDS}/workerpools.anypod.dev", old)
        operator.wait_until_ready()
        until(lambda: "does not know" in operator.log, "it names the fields")
        assert "spec.network, spec.network.egress" in operator.log
        assert "status.timeToReady" in operator.log
        until(lambda: api.get("/apis/anypod.dev/v1alpha1"), "the old CRD is served")
        space.apply(replicas=2)
        space.until_ready()
    finally:
        operator.kill()
        api.delete(f"{CRDS}/workerpools.anypod.dev")
        until(lambda: api.get("/apis/anypod.dev/v1alpha1") is None, "the old CRD is gone")
        install_crd(api)
