"""What the chart refuses because of what is there, which it sees on a real API server alone."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from tests.cluster.control_plane import ApiServer, api_server
from tests.support.built import why_no_api_yet
from tests.support.chart import (
    CHART,
    NAMESPACE,
    RELEASE,
    HelmError,
    Object,
    helm_on,
    pick,
    rendered,
    settings,
)

LASTING = {"etcd.persistence.size": "9Gi", "etcd.persistence.storageClassName": "fast"}
TRIAL = {"etcd.persistence.enabled": False}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    reason = why_no_api_yet()
    if reason is not None:
        pytest.skip(reason)
    # No controller is there that would let go of a claim.
    options = ["--disable-admission-plugins=StorageObjectInUseProtection"]
    with api_server(tmp_path_factory.mktemp("api"), options=options) as running:
        for namespace in (NAMESPACE, "elsewhere"):
            running.kubectl("create", "namespace", namespace)
        yield running


@contextmanager
def there(api: ApiServer, made: Object) -> Iterator[None]:
    """As an install has made it."""
    api.kubectl("create", "-f", "-", input=json.dumps(made))
    try:
        yield
    finally:
        api.kubectl("delete", "-f", "-", input=json.dumps(made))


def upgraded(api: ApiServer, values: Mapping[str, Any], *options: str) -> None:
    """As far as an upgrade goes before it changes anything. Raises HelmError."""
    how = ("--dry-run=server", "--is-upgrade", f"--namespace={NAMESPACE}", *options)
    helm_on(api.kubeconfig, "template", RELEASE, str(CHART), *how, *settings(values))


def serving(*namespaces: str, replicas: int = 1) -> Object:
    """The operator of another release."""
    objects = rendered({"watchNamespaces": list(namespaces)}, namespace="elsewhere")
    found = pick(objects, "Deployment", f"{RELEASE}-anypod-operator")
    return {**found, "spec": {**found["spec"], "replicas": replicas}}


def etcd(values: Mapping[str, Any]) -> Object:
    return pick(rendered(values), "StatefulSet", f"{RELEASE}-anypod-etcd")


@pytest.mark.parametrize(
    ("before", "name", "after"),
    [
        (TRIAL, "etcd.persistence.enabled", True),
        (LASTING, "etcd.persistence.enabled", False),
        (LASTING, "etcd.persistence.size", "10Gi"),
        (LASTING, "etcd.persistence.storageClassName", "slow"),
        (LASTING, "etcd.persistence.storageClassName", ""),
        (LASTING, "etcd.members", 3),
    ],
)
def test_what_etcd_cannot_become_is_refused_before_anything_has_changed(
    api: ApiServer, before: Mapping[str, Any], name: str, after: object
) -> None:
    with (
        there(api, etcd(before)),
        pytest.raises(HelmError, match=rf"{name}: .* fixed once installed"),
    ):
        upgraded(api, {**before, name: after})
    upgraded(api, {**before, name: after})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (TRIAL, LASTING | TRIAL),  # what is asked of claims, where there are none
        (LASTING, {**LASTING, "etcd.persistence.size": f"{9 << 10}Mi"}),
        ({}, {"etcd.podLabels": {"team": "red"}}),
    ],
)
def test_what_etcd_is_already_is_not_refused(
    api: ApiServer, before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    with there(api, etcd(before)):
        upgraded(api, after)


@pytest.mark.parametrize(
    ("name", "before", "never", "well"),
    [
        ("etcd.snapshots.size", "9Gi", "8Gi", ["9Gi", f"{9 << 10}Mi", "10Gi"]),
        # None is that which the cluster has chosen.
        ("etcd.snapshots.storageClassName", "fast", "slow", ["fast", ""]),
    ],
)
def test_what_the_claim_of_snapshots_cannot_become_is_refused_too(
    api: ApiServer, name: str, before: str, never: str, well: list[str]
) -> None:
    claim = f"{RELEASE}-anypod-etcd-snapshots"
    with there(api, pick(rendered({name: before}), "PersistentVolumeClaim", claim)):
        for value in well:
            upgraded(api, {name: value})
        with pytest.raises(HelmError, match=rf"{name}: the claim has \"?{before}\"?, and"):
            upgraded(api, {name: never})


@pytest.mark.parametrize(
    ("theirs", "mine"),
    [([], []), ([], ["red"]), (["red"], []), (["red", "blue"], ["green", "red"])],
)
def test_what_another_operator_serves_is_not_served_twice(
    api: ApiServer, theirs: list[str], mine: list[str]
) -> None:
    served = ", ".join(theirs) or "all namespaces"
    complaint = f"rel-anypod-operator in elsewhere serves {served} already"
    with there(api, serving(*theirs)), pytest.raises(HelmError, match=complaint):
        upgraded(api, {"watchNamespaces": mine})


def test_operators_of_other_namespaces_or_that_are_stopped_are_no_hindrance(api: ApiServer) -> None:
    with there(api, serving("red")):
        upgraded(api, {"watchNamespaces": ["blue"]})
    with there(api, serving(replicas=0)):
        upgraded(api, {})


def test_an_operator_does_not_hinder_itself_also_by_another_name(api: ApiServer) -> None:
    with there(api, pick(rendered(), "Deployment", f"{RELEASE}-anypod-operator")):
        upgraded(api, {})
        upgraded(api, {"fullnameOverride": "other"})


@pytest.mark.parametrize("named", ["", f"{RELEASE}-anypod-api-keys"])
def test_the_key_of_helm_test_is_one_that_is_there(api: ApiServer, named: str) -> None:
    """Whoever made the Secret. The default may have been taken out on purpose."""
    values = {"authentication.apiKeys.existingSecret": named}
    keys = pick(rendered(), "Secret", f"{RELEASE}-anypod-api-keys")
    with there(api, {**keys, "data": {"ci": keys["data"]["admin"]}}):
        for key in ("ci", "admin"):
            upgraded(api, {**values, "test.apiKey": key})
        with pytest.raises(HelmError, match=r"test\.apiKey: the Secret .* has no entry cd"):
            upgraded(api, {**values, "test.apiKey": "cd"})


def test_who_has_only_rights_in_namespaces_can_install_what_makes_nothing_elsewhere(
    api: ApiServer,
) -> None:
    """And is not told of another operator, which cannot be seen from there."""
    within = f"--namespace={NAMESPACE}"
    api.kubectl("create", "rolebinding", "team", "--clusterrole=cluster-admin", "--user=me", within)
    mine = {"watchNamespaces": [NAMESPACE], "crds.enabled": False, "rbac.aggregate": False}
    with there(api, serving()):
        upgraded(api, mine, "--kube-as-user=me")
        with pytest.raises(HelmError, match=r"cannot list resource \"deployments\""):
            upgraded(api, {"watchNamespaces": [NAMESPACE]}, "--kube-as-user=me")
