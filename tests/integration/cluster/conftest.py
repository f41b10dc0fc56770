"""What these tests need of the machine; where it is missing they say so and are skipped."""

from collections.abc import Iterator

import pytest
from tests.cluster.control_plane import ApiServer, api_server, why_no_api_server


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    reason = why_no_api_server()
    if reason is not None:
        pytest.skip(reason)
    with api_server(tmp_path_factory.mktemp("api")) as server:
        yield server
