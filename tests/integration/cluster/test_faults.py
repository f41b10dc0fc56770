"""Every fault verb, seen from a pod of the other node; what a provider cannot do is skipped."""

import time
from collections.abc import Iterator
from threading import Thread

import pytest
from tests.cluster import Cluster, KubectlError, Pod
from tests.cluster.waiting import wait_until
from tests.support.probes import NAMESPACE, Probes

pytestmark = pytest.mark.timeout(3600)  # the first run on a machine builds Kubernetes


class Pair:
    """A pod that looks, on the first node, and one that things happen to, on the second."""

    def __init__(self, cluster: Cluster, probes: Probes) -> None:
        self.node = cluster.nodes()[1]
        self.cluster, self.faults, self._probes = cluster, cluster.faults, probes
        self.looks = Pod(NAMESPACE, f"on-{cluster.nodes()[0]}")
        self.victim = Pod(NAMESPACE, f"on-{self.node}")
        self.url = probes.url(self.victim.name)

    def answers(self, seconds: float = 2) -> bool:
        return self._probes.answers(self.looks.name, self.url, seconds)

    def identity(self) -> str:
        """Changes when the victim's process does."""
        return self._probes.fetch(self.looks.name, self.url)

    def wait_until_well(self) -> None:
        self._probes.wait_until_ready(self.victim.name)
        self.url = self._probes.url(self.victim.name)
        wait_until(self.answers, "the victim answers again", 120)


@pytest.fixture
def pair(cluster: Cluster, probes: Probes) -> Iterator[Pair]:
    made = Pair(cluster, probes)
    made.wait_until_well()
    yield made
    made.wait_until_well()


def test_a_killed_process_is_another_one_afterwards(pair: Pair) -> None:
    before = pair.identity()
    pair.faults.kill_process(pair.victim)
    wait_until(lambda: pair.answers() and pair.identity() != before, "it was started again", 120)
    count = "--output=jsonpath={.status.containerStatuses[0].restartCount}"
    assert int(pair.cluster.kubectl("get", "pod", pair.victim.name, count)) >= 1


def test_a_frozen_container_is_silent_and_goes_on_when_it_is_thawed(pair: Pair) -> None:
    before = pair.identity()
    pair.faults.freeze_container(pair.victim)
    assert not pair.answers()
    pair.faults.thaw_container(pair.victim)
    assert pair.identity() == before


def test_an_isolated_node_is_silent_and_what_runs_there_goes_on(pair: Pair) -> None:
    before = pair.identity()
    pair.faults.isolate_node(pair.node)
    assert not pair.answers()
    pair.faults.heal_node(pair.node)
    wait_until(pair.answers, "packets go through again", 60)
    assert pair.identity() == before


def test_a_stopped_node_is_not_ready_and_comes_back(pair: Pair) -> None:
    before = pair.identity()
    pair.faults.stop_node(pair.node)
    assert not pair.answers()
    gone = ("wait", f"node/{pair.node}", "--for=condition=Ready=Unknown", "--timeout=180s")
    pair.cluster.kubectl(*gone, timeout=190)
    pair.faults.start_node(pair.node)
    pair.wait_until_well()
    assert pair.identity() != before


def test_a_stopped_control_plane_comes_back(cluster: Cluster, pair: Pair) -> None:
    if cluster.provider != "bare":
        pytest.skip("one at a time is enough: kind's node is stopped by the same verb")
    first = cluster.nodes()[0]
    pair.faults.stop_node(first)
    with pytest.raises(KubectlError):
        cluster.kubectl("get", "--raw=/readyz", timeout=5)
    pair.faults.start_node(first)
    assert cluster.kubectl("get", "--raw=/readyz") == "ok"


def test_lost_packets_are_lost_between_two_pods_and_nowhere_else(
    pair: Pair, cluster: Cluster, probes: Probes
) -> None:
    third = probes.start("third", cluster.nodes()[0])
    pair.faults.drop_packets(pair.looks, pair.victim)
    assert not pair.answers()
    assert probes.answers(third.name, pair.url, 10)
    pair.faults.heal_packets(pair.looks, pair.victim)
    assert pair.answers(10)


def test_packets_between_two_pods_of_one_node_are_lost_too(
    pair: Pair, cluster: Cluster, probes: Probes
) -> None:
    neighbour = probes.start("neighbour", pair.node)
    pair.faults.drop_packets(neighbour, pair.victim)
    assert not probes.answers(neighbour.name, pair.url)
    pair.faults.heal_packets(neighbour, pair.victim)
    assert probes.answers(neighbour.name, pair.url, 10)


def test_delayed_packets_arrive_late(pair: Pair) -> None:
    pair.faults.delay_packets(pair.looks, pair.victim, 400)
    try:
        began = time.monotonic()
        assert pair.answers(10)
        # A connection and an answer are two round trips, each delayed both ways.
        assert time.monotonic() - began >= 1.6
    finally:
        pair.faults.heal_packets(pair.looks, pair.victim)


def test_the_api_server_is_another_one_after_its_restart(pair: Pair) -> None:
    began = "--raw=/metrics"
    before = _line(pair.cluster.kubectl("get", began), "process_start_time_seconds ")
    pair.faults.restart_api_server()
    assert _line(pair.cluster.kubectl("get", began), "process_start_time_seconds ") != before


def test_nothing_can_be_written_while_etcd_is_stopped(pair: Pair) -> None:
    stopping = Thread(target=pair.faults.stop_etcd, args=(10,))
    stopping.start()
    try:
        wait_until(lambda: not _writes(pair.cluster), "a write fails", 10)
    finally:
        stopping.join(60)
    wait_until(lambda: _writes(pair.cluster), "writes are made again", 60)


def test_nothing_is_answered_while_the_api_server_is_stopped(pair: Pair) -> None:
    stopping = Thread(target=pair.faults.stop_api_server, args=(10,))
    stopping.start()
    try:
        wait_until(lambda: not _writes(pair.cluster), "a write fails", 10)
    finally:
        stopping.join(90)
    assert _writes(pair.cluster)


def _writes(cluster: Cluster) -> bool:
    name = ("configmap", "written", "--from-literal=a=b")
    try:
        cluster.kubectl("delete", "configmap", "written", "--ignore-not-found", timeout=3)
        cluster.kubectl("create", *name, timeout=3)
    except KubectlError:
        return False
    return True


def _line(metrics: str, beginning: str) -> str:
    return next(line for line in metrics.splitlines() if line.startswith(beginning))
