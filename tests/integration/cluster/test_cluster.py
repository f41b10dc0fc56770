"""What is promised of every provider: a Kubernetes that does what Kubernetes does."""

import json

import pytest
from tests.cluster import Cluster
from tests.cluster.own_images import PROBE
from tests.cluster.waiting import wait_until
from tests.support.probes import NAMESPACE, Probes

pytestmark = pytest.mark.timeout(3600)  # the first run on a machine builds Kubernetes


def test_its_nodes_are_ready(cluster: Cluster) -> None:
    found = json.loads(cluster.kubectl("get", "nodes", "--output=json"))["items"]
    assert sorted(node["metadata"]["name"] for node in found) == sorted(cluster.nodes())
    for node in found:
        ready = [one["status"] for one in node["status"]["conditions"] if one["type"] == "Ready"]
        assert ready == ["True"]


def test_pods_of_two_nodes_reach_each_other(cluster: Cluster, probes: Probes) -> None:
    one, other = (f"on-{node}" for node in cluster.nodes())
    assert probes.fetch(one, probes.url(other)).startswith(other)
    assert probes.fetch(other, probes.url(one)).startswith(one)


def test_a_service_is_found_by_its_name(cluster: Cluster, probes: Probes) -> None:
    one, other = (f"on-{node}" for node in cluster.nodes())
    name = f"http://{other}.{NAMESPACE}.svc.cluster.local/"
    wait_until(lambda: probes.answers(one, name), f"{name} is served", 60)
    assert probes.fetch(one, name).startswith(other)


def test_a_network_policy_is_enforced(cluster: Cluster, probes: Probes) -> None:
    one, other = (f"on-{node}" for node in cluster.nodes())
    url = probes.url(other)
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "alone"},
        "spec": {"podSelector": {"matchLabels": {"probe": other}}, "policyTypes": ["Ingress"]},
    }
    here = f"--namespace={NAMESPACE}"
    cluster.kubectl("apply", here, "-f", "-", input=json.dumps(policy))
    try:
        wait_until(lambda: not probes.answers(one, url), "the policy counts", 60)
    finally:
        cluster.kubectl("delete", here, "networkpolicy", "alone")
    wait_until(lambda: probes.answers(one, url), "the policy is gone", 60)


def test_a_pod_may_not_have_more_memory_than_its_limit(cluster: Cluster, probes: Probes) -> None:
    """Through kubelet and runc: control groups work, of whatever version."""
    image = cluster.images.of(PROBE.image)
    override = {
        "spec": {
            "containers": [
                {
                    "name": "limited",
                    "image": image,
                    "imagePullPolicy": cluster.images.pull_policy,
                    "args": ["eat", "256"],
                    "resources": {"limits": {"memory": "64Mi"}},
                }
            ]
        }
    }
    here = f"--namespace={NAMESPACE}"
    cluster.kubectl(
        *("run", "limited", here, "--restart=Never", f"--image={image}"),
        f"--overrides={json.dumps(override)}",
    )

    def reason() -> str:
        status = "--output=jsonpath={.status.containerStatuses[0].state.terminated.reason}"
        return cluster.kubectl("get", "pod/limited", here, status)

    try:
        wait_until(lambda: reason() != "", "the pod has ended", 120)
        assert reason() == "OOMKilled"
    finally:
        cluster.kubectl("delete", here, "pod/limited", "--grace-period=0", "--force")


def test_what_is_loaded_already_is_not_loaded_again(cluster: Cluster, probes: Probes) -> None:
    """Else the container runtime would tell of a newer image."""
    before = cluster.kubectl("get", "nodes", "--output=jsonpath={.items[*].status.images}")
    cluster.load([PROBE.archive()])
    assert cluster.kubectl("get", "nodes", "--output=jsonpath={.items[*].status.images}") == before
