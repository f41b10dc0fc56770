"""A cluster for all of these tests, and a namespace for one."""

from collections.abc import Iterator

import pytest
from tests.cluster import Cluster
from tests.support.cluster_tests import cluster_of
from tests.support.in_cluster import Place
from tests.support.namespaces import namespace

cluster = pytest.fixture(scope="package")(cluster_of)


@pytest.fixture
def place(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Place]:
    about = request.node.originalname.removeprefix("test_")[:30].replace("_", "-").strip("-")
    with namespace(cluster, request, f"e2e-{about}") as name:
        yield Place(cluster, name)
