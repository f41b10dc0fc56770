"""What these tests need of the machine; where it is missing they say so and are skipped."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.cluster import Cluster, why_none
from tests.cluster.control_plane import ApiServer, api_server, why_no_api_server
from tests.cluster.own_images import PROBE
from tests.cluster.providers import fulfil
from tests.cluster.pytest_options import why_no_images, wishes
from tests.support.probes import Probes


@pytest.fixture(scope="package")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    reason = why_no_api_server()
    if reason is not None:
        pytest.skip(reason)
    with api_server(tmp_path_factory.mktemp("api")) as server:
        yield server


@pytest.fixture(scope="package")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Two nodes, of the provider that the options name."""
    wished = wishes(request.config)
    reason = why_none(wished.provider) or why_no_images(request.config) or PROBE.why_not()
    if reason is not None:
        pytest.skip(reason)
    started = fulfil(replace(wished, archives=[PROBE.archive()]))
    yield started
    started.down()


@pytest.fixture(scope="package")
def probes(cluster: Cluster) -> Probes:
    """Pods of the probe program, one on each node, Ready."""
    started = Probes(cluster)
    for node in cluster.nodes():
        started.start(f"on-{node}", node)
    return started
