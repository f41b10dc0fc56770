"""What the tests see of the machine does not depend on what others do to it at that moment."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from tests.cluster import cgroups, slots
from tests.cluster.addresses import Addresses
from tests.support.machine import left_by

OTHERS = f"of-another-{os.getpid()}"


@pytest.fixture
def plan() -> Iterator[Addresses]:
    slot = slots.take()
    yield Addresses(slot)
    slots.give_back(slot)


@pytest.fixture
def others_end_their_groups() -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("control groups are made by root only")
    over = Event()

    def make_and_end() -> None:
        while not over.is_set():
            for group in (OTHERS, f"{OTHERS}/pod", f"{OTHERS}/pod/container"):
                cgroups.create(group)
            cgroups.remove(OTHERS)

    with ThreadPoolExecutor() as pool:
        made = pool.submit(make_and_end)
        yield
        over.set()
        made.result(60)


def test_what_a_cluster_left_is_seen_while_another_ends(
    plan: Addresses, others_end_their_groups: None
) -> None:
    for _ in range(100):
        assert not [left for left in left_by(plan) if left.startswith("control group")]


@pytest.mark.skipif(os.geteuid() != 0, reason="control groups are made by root only")
def test_the_pods_of_a_node_count_as_more_than_one_process() -> None:
    """Or they would all but stand still on a machine that is busy with other programs."""
    name = f"heavy-{os.getpid()}"
    cgroups.create(name)
    try:
        files = {"cpu.shares": 1024, "cpu.weight": 100}
        weights = [
            int((group / file).read_text()) / of_a_process
            for group in cgroups.found(name)
            for file, of_a_process in files.items()
            if (group / file).exists()
        ]
    finally:
        cgroups.remove(name)
    assert weights
    assert min(weights) > 1
