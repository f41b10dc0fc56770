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
from tests.support.cluster_tests import cluster_of, skip_if_theirs
from tests.support.installed import RESTRICTED, Object, Release
from tests.support.namespaces import namespace, stays

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


cluster = pytest.fixture(scope="package")(cluster_of)


@pytest.fixture(scope="package")
def release(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Release]:
    """With a pool of eight workers."""
    if find_helm() is None:
        pytest.skip("chaos: no helm")
    skip_if_theirs(cluster, "its nodes and its control plane are what breaks")
    first = {"kubernetes.io/hostname": cluster.nodes()[0]}
    with namespace(cluster, request, "chaos", **RESTRICTED) as name:
        made = Release(cluster, "anypod", name)
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
        if not stays(request):
            made.kubectl("delete", "wp", "--all", "--wait=false")
            made.uninstall()
