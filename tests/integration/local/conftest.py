"""One pool of two workers for the tests that leave it as it was."""

from collections.abc import Iterator

import pytest
from tests.support.local import LocalPool, local_pool


@pytest.fixture
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPool]:
    with local_pool(tmp_path_factory.mktemp("pool")) as started:
        yield started.ready()
