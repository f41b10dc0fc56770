"""A real API server takes what the chart makes, strictly and under the restricted profile."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster.control_plane import ApiServer, api_server
from tests.cluster.kubectl import KubectlError
from tests.support.built import why_no_api_yet
from tests.support.chart import NAMESPACE, Object, of_kind, pod_specs, rendered
from tests.support.kinds_of_others import DEFINITIONS

SITUATIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "all that can be turned on": {
        "authentication.kubernetesTokens": True,
        "etcd.members": 3,
        "gateway.autoscaling.enabled": True,
        "gateway.ingress.enabled": True,
        "gateway.ingress.hosts": ["anypod.example"],
        "gateway.ingress.tls": [{"secretName": "tls", "hosts": ["anypod.example"]}],
        "gateway.httpRoute.enabled": True,
        "gateway.httpRoute.parentRefs": [{"name": "web"}],
        "gateway.podAnnotations": {"a/b": "c"},
        "gateway.podLabels": {"team": "red"},
        "gateway.priorityClassName": "high",
        "gateway.service.type": "NodePort",
        "gateway.service.nodePort": 30080,
        "gateway.tolerations": [{"key": "gateways", "operator": "Exists"}],
        "imagePullSecrets": [{"name": "login"}],
        "monitoring.prometheusRule.enabled": True,
        "monitoring.serviceMonitor.enabled": True,
        "networkPolicy.gatewayFrom": [{"namespaceSelector": {"matchLabels": {"team": "red"}}}],
        "networkPolicy.metricsFrom": [{"namespaceSelector": {}}],
    },
    "little": {
        "authentication.enabled": False,
        "crds.enabled": False,
        "etcd.persistence.enabled": False,
        "networkPolicy.enabled": False,
        "rbac.aggregate": False,
        "test.enabled": False,
        "watchNamespaces": ["red", "blue"],
    },
    "an etcd of others": {
        "etcd.external.endpoints": ["etcd.example:2379"],
        "etcd.external.tlsSecret": "tls",
        "etcd.external.clientCertificate": True,
        "etcd.external.userSecret": "user",
    },
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    reason = why_no_api_yet()
    if reason is not None:
        pytest.skip(reason)
    with api_server(tmp_path_factory.mktemp("api")) as running:
        for namespace in (NAMESPACE, "red", "blue"):
            running.kubectl("create", "namespace", namespace)
        level = "pod-security.kubernetes.io/enforce=restricted"
        running.kubectl("label", "namespace", NAMESPACE, level)
        priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 1}
        create(running, [{**priority, "metadata": {"name": "high"}}])
        crds = [*of_kind(rendered(), "CustomResourceDefinition").values(), *DEFINITIONS]
        create(running, crds)
        names = [f"crd/{crd['metadata']['name']}" for crd in crds]
        running.kubectl("wait", "--for=condition=Established", *names, "--timeout=30s")
        yield running


def create(api: ApiServer, objects: list[Object], *options: str) -> str:
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    return api.kubectl("apply", "--server-side", "-f", "-", *options, input=listed)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_api_server_takes_all_of_it(api: ApiServer, situation: str) -> None:
    objects = rendered(SITUATIONS[situation])
    told = create(api, objects, "--dry-run=server", "--validate=strict")
    assert told.count("serverside-applied (server dry run)") == len(objects)


@pytest.mark.parametrize("kind", ["HTTPRoute", "ServiceMonitor", "PrometheusRule"])
def test_what_is_misspelt_of_kinds_of_others_is_refused(api: ApiServer, kind: str) -> None:
    (good, *_) = of_kind(rendered(SITUATIONS["all that can be turned on"]), kind).values()
    bad = {**good, "spec": {**good["spec"], "misspelt": 1}}
    with pytest.raises(KubectlError, match="misspelt"):
        create(api, [bad], "--dry-run=server", "--validate=strict")


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_pod_is_within_the_restricted_profile(api: ApiServer, situation: str) -> None:
    pods = pod_specs(rendered(SITUATIONS[situation]))
    assert pods
    listed: list[Object] = []
    for number, spec in enumerate(pods.values()):
        pod = {"apiVersion": "v1", "kind": "Pod", "spec": {**spec, "restartPolicy": "Never"}}
        metadata = {"name": f"pod-{number}", "namespace": NAMESPACE}
        # A claim by a StatefulSet's template is no volume of the pod yet.
        claimed = {"name": "data", "emptyDir": {}}
        if "data" not in {volume["name"] for volume in spec["volumes"]}:
            pod["spec"]["volumes"] = [*spec["volumes"], claimed]
        listed.append({**pod, "metadata": metadata})
    told = create(api, listed, "--dry-run=server")
    assert told.count("serverside-applied (server dry run)") == len(pods)


def test_the_profile_is_enforced_here(api: ApiServer) -> None:
    spec = {"containers": [{"name": "any", "image": "any"}]}
    metadata = {"name": "any", "namespace": NAMESPACE}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    with pytest.raises(KubectlError, match="restricted"):
        create(api, [pod], "--dry-run=server")
