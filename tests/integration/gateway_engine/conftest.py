"""The stores that gateways of these tests share: SQLite, and a real etcd."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.etcd import EtcdServer, running_etcd


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    """A server of the test's own: what others have pinned is not there."""
    with running_etcd(tmp_path / "etcd") as server:
        yield server


@pytest.fixture(params=["sqlite", "etcd"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'store.db'}"
    server: EtcdServer = request.getfixturevalue("etcd")
    return server.url
