"""A real API for all of these tests, a real operator for most."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.built import why_no_api_yet
from tests.support.kubernetes_api import KubernetesApi, running_api
from tests.support.operated import Namespace, grant, install_crd, namespace
from tests.support.operator_process import OperatorProcess


@pytest.fixture(scope="package")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesApi]:
    reason = why_no_api_yet()
    if reason is not None:
        pytest.skip(reason)
    with running_api(tmp_path_factory.mktemp("kubernetes")) as running:
        install_crd(running)
        grant(running)
        yield running


@pytest.fixture(scope="module")
def operator(
    api: KubernetesApi, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """Of all namespaces."""
    process = OperatorProcess(api, tmp_path_factory.mktemp("operator"), "--load-seconds", "1")
    process.start()
    try:
        yield process
    finally:
        process.kill()


@pytest.fixture
def space(api: KubernetesApi) -> Iterator[Namespace]:
    with namespace(api) as fresh:
        yield fresh


@pytest.fixture
def own(space: Namespace, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator of the test's own, for its namespace; not started yet."""
    process = OperatorProcess(space.api, tmp_path, "--namespace", space.name, "--load-seconds", "1")
    try:
        yield process
    finally:
        process.kill()
