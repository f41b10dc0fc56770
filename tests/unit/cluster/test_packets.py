"""Delays to several peers of one pod do not touch each other.

Few kernels have what delays packets, so what tc does is played here: it keeps queues and filters,
prints them as tc does, and refuses what tc refuses.
"""

from ipaddress import IPv4Address

import pytest
from tests.cluster import packets
from tests.cluster.interface import Unsupported
from tests.cluster.packets import PodNetwork

ONE, OTHER = "10.244.1.2", "10.244.0.17"
NO_KIND = "Error: Specified qdisc kind is unknown."


class Kernel:
    """One pod's network, as iptables and tc see it."""

    def __init__(self, *lacks: str) -> None:
        self._lacks = lacks
        self.chains: set[str] = set()
        self.root = False
        self.delays: dict[str, str] = {}
        """By the class that is delayed."""
        self.filters: dict[str, tuple[str, str]] = {}
        """By preference: the destination, and its class."""

    def run(self, *command: str) -> str:
        words = command[command.index("--") + 1 :]
        if words[0] == "iptables":
            return self._iptables(words[words.index("10") + 1 :])
        kind, verb, *rest = words[1:]
        options = dict(zip(rest[::2], rest[1::2], strict=False))
        assert options.pop("dev") == "eth0"
        answer: str = getattr(self, f"_{kind}_{verb}")(rest, options)
        return answer

    def _iptables(self, words: list[str]) -> str:
        if "statistic" in words and "statistic" in self._lacks:
            raise RuntimeError("iptables: No chain/target/match by that name.")
        if words[0] in ("-N", "-X"):
            (self.chains.add if words[0] == "-N" else self.chains.remove)(words[1])
        return ""

    def delay_to(self, address: str) -> str | None:
        return next((self.delays.get(to) for a, to in self.filters.values() if a == address), None)

    def _qdisc_show(self, rest: list[str], _options: dict[str, str]) -> str:
        return "qdisc prio 1: root refcnt 2 bands 16\n" if self.root else "qdisc noqueue 0: root\n"

    def _qdisc_replace(self, rest: list[str], options: dict[str, str]) -> str:
        for kind in self._lacks:
            if kind in rest:
                raise RuntimeError(NO_KIND)
        if "root" in rest:
            self.root, self.delays, self.filters = True, {}, {}
        else:
            assert self.root
            self.delays[options["parent"]] = rest[-1]
        return ""

    def _qdisc_delete(self, rest: list[str], options: dict[str, str]) -> str:
        if "root" in rest:
            assert self.root
            self.root, self.delays, self.filters = False, {}, {}
        else:
            del self.delays[options["parent"]]
        return ""

    def _filter_add(self, rest: list[str], options: dict[str, str]) -> str:
        assert self.root
        to = rest[rest.index("dst") + 1].removesuffix("/32")
        assert options["pref"] not in self.filters
        self.filters[options["pref"]] = (to, rest[rest.index("flowid") + 1])
        return ""

    def _filter_delete(self, rest: list[str], options: dict[str, str]) -> str:
        del self.filters[options["pref"]]
        return ""

    def _filter_show(self, rest: list[str], options: dict[str, str]) -> str:
        lines = []
        for pref, (address, to) in self.filters.items():
            head = f"filter protocol ip pref {pref} u32 chain 0"
            lines += [head, f"{head} fh 800: ht divisor 1"]
            lines += [f"{head} fh 800::800 order 2048 key ht 800 bkt 0 flowid {to} not_in_hw"]
            lines += [f"  match {int(IPv4Address(address)):08x}/ffffffff at 16"]
        return "\n".join(lines)


def network(kernel: Kernel) -> PodNetwork:
    return PodNetwork(kernel.run, 1)


def test_two_peers_are_delayed_and_healed_apart() -> None:
    kernel = Kernel()
    packets.delay(network(kernel), ONE, 100)
    packets.delay(network(kernel), OTHER, 200)
    assert (kernel.delay_to(ONE), kernel.delay_to(OTHER)) == ("100ms", "200ms")
    packets.heal(network(kernel), ONE)
    assert (kernel.delay_to(ONE), kernel.delay_to(OTHER)) == (None, "200ms")
    packets.heal(network(kernel), OTHER)
    assert not kernel.root


def test_a_second_delay_takes_the_place_of_the_first() -> None:
    kernel = Kernel()
    packets.delay(network(kernel), ONE, 100)
    packets.delay(network(kernel), OTHER, 200)
    packets.delay(network(kernel), ONE, 300)
    assert (kernel.delay_to(ONE), kernel.delay_to(OTHER)) == ("300ms", "200ms")


def test_what_was_never_delayed_is_healed_without_a_word() -> None:
    kernel = Kernel()
    packets.heal(network(kernel), ONE)
    packets.delay(network(kernel), OTHER, 200)
    packets.heal(network(kernel), ONE)
    assert kernel.delay_to(OTHER) == "200ms"


def test_a_place_is_used_again_and_when_none_is_left_it_is_said() -> None:
    kernel = Kernel()
    peers = [f"10.244.2.{number}" for number in range(13)]
    for peer in peers:
        packets.delay(network(kernel), peer, 100)
    with pytest.raises(Unsupported, match="delayed to 13 others at once"):
        packets.delay(network(kernel), ONE, 100)
    packets.heal(network(kernel), peers[5])
    packets.delay(network(kernel), ONE, 100)
    assert kernel.delay_to(ONE) == "100ms"


@pytest.mark.parametrize("lacks", ["prio", "netem"])
def test_a_kernel_that_cannot_says_so_and_is_left_as_it_was(lacks: str) -> None:
    kernel = Kernel(lacks)
    with pytest.raises(Unsupported, match="this kernel has no prio and netem"):
        packets.delay(network(kernel), ONE, 100)
    assert not kernel.root


def test_a_kernel_that_cannot_drop_some_of_the_packets_says_so_and_is_left_as_it_was() -> None:
    kernel = Kernel("statistic")
    with pytest.raises(Unsupported, match="this kernel has no xt_statistic"):
        packets.drop(network(kernel), ONE, 50)
    assert kernel.chains == set()
    packets.drop(network(kernel), ONE, 100)
    assert kernel.chains == {f"from-{ONE}"}
