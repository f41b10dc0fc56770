"""AnyPod as its users install it, one release for a module: two gateways, one on each node.

etcd and the operator are beside the control plane, so that the loss of the other node takes one
gateway and half of the workers, and not what there is only one of.
"""

from collections.abc import Iterator

import pytest
from tests.cluster import Cluster
from tests.support.chart import find_helm
from tests.support.installed import Release

RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"


@pytest.fixture(scope="module")
def release(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Release]:
    """Without a pool."""
    if find_helm() is None:
        pytest.skip("chaos: no helm")
    made = Release(cluster, "anypod", "chaos")
    namespace = ("namespace", made.namespace)
    cluster.kubectl("delete", *namespace, "--ignore-not-found", "--timeout=120s", timeout=150)
    cluster.kubectl("create", *namespace)
    cluster.kubectl("label", *namespace, RESTRICTED)
    first = {"kubernetes.io/hostname": cluster.nodes()[0]}
    try:
        made.install(
            {
                "crds.enabled": False,
                "etcd.nodeSelector": first,
                "etcd.persistence.enabled": False,
                "operator.nodeSelector": first,
                "watchNamespaces": [made.namespace],
            }
        )
        yield made
    finally:
        if not request.config.getoption("--keep"):
            made.kubectl("delete", "wp", "--all", "--wait=false")
            made.uninstall()
            cluster.kubectl("delete", *namespace, "--timeout=120s", timeout=150)
