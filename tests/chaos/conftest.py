"""AnyPod as its users install it, one release for all of chaos: two gateways and eight workers on
two nodes.

etcd and the operator are beside the control plane, so that the loss of the other node takes one
gateway and half of the workers, and not what there is only one of.
"""

from collections.abc import Iterator

import pytest
from tests.cluster import Cluster
from tests.support import on_a_cluster, on_a_stack
from tests.support.chart import find_helm
from tests.support.installed import Object, Release

RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"
POOL: Object = {
    "replicas": 8,
    "executors": 2,
    "drainSeconds": 10,
    "rollout": {"maxSurge": "50%"},
    "jobs": on_a_stack.JOBS,
    "network": {"peers": [on_a_cluster.REACHES_IT]},
    # Less than an executor may take: for want of memory it is the pod that is short.
    "template": {
        "spec": {"containers": [{"name": "worker", "resources": {"limits": {"memory": "640Mi"}}}]}
    },
}


@pytest.fixture(scope="package")
def release(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Release]:
    """With a pool of eight workers."""
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
        made.apply_pool(**POOL)
        yield made
    finally:
        if not request.config.getoption("--keep"):
            made.kubectl("delete", "wp", "--all", "--wait=false")
            made.uninstall()
            cluster.kubectl("delete", *namespace, "--wait=false")
