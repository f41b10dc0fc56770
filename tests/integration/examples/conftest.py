"""One pool for all examples, as ``examples/pool.yaml`` describes it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.anypod_up import anypod_up

from anypod.client import Client

EXAMPLES = Path(__file__).parents[3] / "examples"
WORKERS = 4


@pytest.fixture(scope="package")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    folder = tmp_path_factory.mktemp("examples")
    with anypod_up(folder, "-f", str(EXAMPLES / "pool.yaml"), workers=WORKERS) as running:
        yield running


@pytest.fixture
def client(pool: tuple[str, int]) -> Iterator[Client]:
    with Client(pool[0], timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def hamlet() -> str:
    return (EXAMPLES / "data" / "hamlet.txt").read_text()


@pytest.fixture(scope="session")
def macbeth() -> str:
    return (EXAMPLES / "data" / "macbeth.txt").read_text()


@pytest.fixture(scope="session")
def flights() -> str:
    return (EXAMPLES / "data" / "flights.csv").read_text()
