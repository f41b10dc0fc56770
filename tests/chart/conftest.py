"""helm itself renders the chart; without it none of these tests can run."""

import pytest
from tests.support.chart import find_helm


@pytest.fixture(autouse=True, scope="session")
def helm_is_there() -> None:
    if find_helm() is None:
        pytest.skip("no helm on PATH, and none built: `make test` builds one where there is Go")
