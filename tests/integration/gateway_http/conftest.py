"""One gateway and three workers per module of tests; tests that break parts make their own."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.rig import Gateway, Rig, pool_of, rig


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    pool = pool_of(limits={"memory": "256Mi", "maxTimeoutSeconds": 300})
    async with rig(tmp_path_factory.mktemp("rig"), pool=pool, workers=3) as made:
        yield made


@pytest.fixture
def gateway(shared: Rig) -> Gateway:
    return shared.gateway
