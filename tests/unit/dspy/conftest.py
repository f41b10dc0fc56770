"""Connections of one test, which no other finds."""

from collections.abc import Iterator

import pytest

from anypod_worker.kinds.dspy import transport
from anypod_worker.kinds.dspy.connections import Idle


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Idle]:
    """Those that a test's requests leave; no proxy is asked."""
    waiting = Idle()
    monkeypatch.setattr(transport, "idle", waiting)
    for name in transport._PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    yield waiting
    for one in waiting._waiting:
        one.stream.close()
