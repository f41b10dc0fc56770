"""Clusters side by side must not meet, and nothing may be addressed outside the benchmark range."""

from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

import pytest
from tests.cluster.addresses import MOST_NODES, RANGE, SLOTS, Addresses

PLANS = [Addresses(slot) for slot in range(SLOTS)]
NODES = range(1, MOST_NODES + 1)


def networks(plan: Addresses) -> list[IPv4Network]:
    nodes = IPv4Network(f"{plan.host}/24", strict=False)
    return [nodes, IPv4Network(plan.pods), IPv4Network(plan.services)]


def test_everything_lies_in_the_range_that_is_routed_nowhere() -> None:
    assert all(net.subnet_of(IPv4Network(RANGE)) for plan in PLANS for net in networks(plan))


def test_no_two_networks_overlap() -> None:
    every = [network for plan in PLANS for network in networks(plan)]
    assert not [pair for pair in combinations(every, 2) if pair[0].overlaps(pair[1])]


@pytest.mark.parametrize("plan", PLANS)
def test_each_address_lies_in_the_network_of_its_kind(plan: Addresses) -> None:
    nodes, pods, services = networks(plan)
    here = [IPv4Address(plan.node(number)) for number in NODES]
    assert all(address in nodes for address in here)
    assert len({IPv4Address(plan.host), *here}) == MOST_NODES + 1
    assert all(IPv4Network(plan.pods_of(number)).subnet_of(pods) for number in NODES)
    assert IPv4Address(plan.kubernetes_service) == services[1]
    assert IPv4Address(plan.dns_service) in services


@pytest.mark.parametrize("plan", PLANS)
def test_a_link_has_a_name_that_the_kernel_takes(plan: Addresses) -> None:
    assert len(plan.host_link) <= 15


def test_one_clusters_names_never_begin_anothers() -> None:
    assert not any(a.prefix.startswith(b.prefix) for a in PLANS for b in PLANS if a != b)


def test_a_slot_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="slot 8: there are slots 0 to 7"):
        Addresses(8)
