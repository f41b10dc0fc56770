"""Connections of one test, which no other finds, and an LM for runs in the test's process."""

from collections.abc import Iterator

import pytest
from tests.support.lm_server import LmServer, chat, lm_server

from anypod_worker.kinds.dspy import catalog, transport
from anypod_worker.kinds.dspy.connections import Idle


@pytest.fixture(autouse=True, scope="session")
def _catalog_is_read() -> None:
    """As in an executor, before there is a loop: it is a file."""
    catalog.prepare()


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


@pytest.fixture(scope="module")
def serving() -> Iterator[LmServer]:
    with lm_server() as server:
        yield server


@pytest.fixture
def lm(serving: LmServer, waiting: Idle) -> LmServer:
    """Asked nothing yet; it says that the answer is 42."""
    serving.clear()
    serving.script = lambda _: chat(answer="42")
    return serving
