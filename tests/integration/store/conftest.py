"""The stores that the tests of this room run against: SQLite, and a real etcd."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.etcd import EtcdServer, running_etcd

from anypod.store.keys import PoolKeys
from anypod.store.kv import KeyValue
from anypod.store.open import open_store

_rooms = itertools.count()


@pytest.fixture(scope="package")
def shared_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """One server for all tests that leave it running; each has a prefix of its own."""
    with running_etcd(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    """A server of the test's own, to kill, freeze and compact."""
    with running_etcd(tmp_path / "etcd") as server:
        yield server


@pytest.fixture(params=["sqlite", "etcd"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'store.db'}"
    server: EtcdServer = request.getfixturevalue("shared_etcd")
    return server.url


@pytest.fixture
async def store(url: str) -> AsyncIterator[KeyValue]:
    opened = await asyncio.to_thread(open_store, url)
    yield opened
    await opened.close()


@pytest.fixture
async def other(url: str) -> AsyncIterator[KeyValue]:
    """A second opening of the same store, as another process has it."""
    opened = await asyncio.to_thread(open_store, url)
    yield opened
    await opened.close()


@pytest.fixture
def room() -> str:
    """A prefix that no other test uses."""
    return f"/test/{next(_rooms)}/"


@pytest.fixture
def pool() -> PoolKeys:
    """A pool that no other test uses."""
    return PoolKeys("test", f"pool-{next(_rooms)}")
