"""Two gateways over one store, and a program that writes down what it does."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.jobs import NOTE, TELLS, YIELDS
from tests.support.rig import Rig, pool_of, rig


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    pool = pool_of(executors=4, jobs={"concurrency": 4})
    async with rig(tmp_path_factory.mktemp("jobs"), pool=pool, workers=2, gateways=2) as made:
        await made.gateway.create(NOTE, "note")
        await made.gateway.create(NOTE + "# idempotent", "again", idempotent=True)
        await made.gateway.create(YIELDS, "yields")
        await made.gateway.create(TELLS, "tells")
        yield made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log"
