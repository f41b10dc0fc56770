"""What is read of a pool is kept until its spec changes."""

from typing import Any

import pytest

from anypod.resources import served
from anypod_gateway.cluster.source import KubernetesSource
from anypod_gateway.discovery import DesiredPool


class Told:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pools: dict[str, DesiredPool] = {}
        self.read = 0
        self.source = KubernetesSource((), "a", self._take)
        real = served.read

        def counted(raw: Any) -> Any:
            self.read += 1
            return real(raw)

        monkeypatch.setattr(served, "read", counted)

    def _take(self, pools: list[DesiredPool]) -> None:
        self.pools = {pool.name: pool for pool in pools}

    def tell(self, *pools: dict[str, Any]) -> None:
        self.source._tell(list(pools), [])


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(monkeypatch)


def pool(generation: int = 1, uid: str = "u", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "anypod.dev/v1alpha1",
        "kind": "WorkerPool",
        "metadata": {"name": "p", "namespace": "a", "uid": uid, "generation": generation},
        "spec": spec,
    }


def test_a_pool_is_read_once_for_each_change_of_its_spec(told: Told) -> None:
    for busy in range(10):
        told.tell(pool(1, executors=3) | {"status": {"busy": busy}})
    assert told.read == 1
    told.tell(pool(2, executors=4))
    assert told.pools["p"].manifest.spec.executors == 4
    told.tell(pool(2, uid="another", executors=5))
    assert told.pools["p"].manifest.spec.executors == 5
    assert told.read == 3


def test_a_pool_that_cannot_be_read_stays_as_it_was_until_it_can(told: Told) -> None:
    told.tell(pool(1, executors=3))
    told.tell(pool(2, executors=0))
    assert told.pools["p"].manifest.spec.executors == 3
    assert "executors" in told.pools["p"].message
    told.tell(pool(3, executors=3))
    assert told.pools["p"].message == ""


def test_nothing_is_kept_of_a_pool_that_is_gone(told: Told) -> None:
    told.tell(pool(1, executors=3))
    told.tell()
    assert told.pools == {}
    told.tell(pool(1, executors=0))
    assert told.pools == {}
    told.tell()
    assert (told.source._read, told.source._complaints) == ({}, {})


def test_what_its_operator_finds_wrong_with_a_pool_is_told_while_it_holds(told: Told) -> None:
    def degraded(status: str, reason: str, message: str) -> dict[str, Any]:
        ready = {"type": "Ready", "status": "False", "reason": "NoneServes", "message": "0 of 1"}
        found = {"type": "Degraded", "status": status, "reason": reason, "message": message}
        return pool() | {"status": {"conditions": [ready, found]}}

    told.tell(degraded("True", "CannotStart", "p-1: no module 'nosuch'"))
    assert told.pools["p"].message == "CannotStart: p-1: no module 'nosuch'"
    told.tell(degraded("False", "AsExpected", ""))
    assert told.pools["p"].message == ""
    for status in ({}, {"conditions": None}, None):
        told.tell(pool() | {"status": status})
        assert told.pools["p"].message == ""
