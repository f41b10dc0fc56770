"""One API server for these tests; each has a namespace of its own."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.control_plane import ApiServer, api_server
from tests.support.built import why_no_api_yet

CRDS = Path(__file__).parents[3] / "crds"
_numbers = itertools.count(1)


@pytest.fixture(scope="package")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    reason = why_no_api_yet()
    if reason is not None:
        pytest.skip(reason)
    with api_server(tmp_path_factory.mktemp("kubernetes")) as server:
        server.kubectl("apply", "-f", str(CRDS))
        server.kubectl("wait", "--for=condition=Established", "crd/workerpools.anypod.dev")
        yield server


@pytest.fixture
def namespace(kubernetes: ApiServer) -> str:
    name = f"team-{next(_numbers)}"
    kubernetes.kubectl("create", "namespace", name)
    return name
