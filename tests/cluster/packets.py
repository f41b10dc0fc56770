"""Losing and delaying packets between two pods, inside the pods' own network namespaces.

A packet is judged once: where it arrives when it is dropped, where it leaves when it is delayed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address

from tests.cluster.interface import Unsupported

_NO_SUCH_KIND = "qdisc kind is unknown"
_DEVICE = ("dev", "eth0")
_ROOT = (*_DEVICE, "root")
_FILTERS = (*_DEVICE, "parent", "1:")
_BANDS = 16
"""As many as a prio queue can have. The first three are for what is not delayed."""
_FIRST_BAND = 4
_FILTER = re.compile(
    r"flowid 1:(?P<band>[0-9a-f]+)\b[^\n]*\n\s*match (?P<address>[0-9a-f]{8})/ffffffff at 16"
)


@dataclass(frozen=True)
class PodNetwork:
    """A pod's network namespace, by a process on its node."""

    on_node: Callable[..., str]
    pid: int

    def run(self, *command: str) -> str:
        return self.on_node("nsenter", f"--target={self.pid}", "--net", "--", *command)


def drop(at: PodNetwork, peer: str, percent: int) -> None:
    """Lose ``percent`` of the packets that come from ``peer``."""
    chain = _chain(peer)
    chance = ("-m", "statistic", "--mode", "random", "--probability", f"{percent / 100:.2f}")
    _iptables(at, "-N", chain)
    try:
        _iptables(at, "-A", chain, *(chance if percent < 100 else ()), "-j", "DROP")
    except RuntimeError as refused:
        _iptables(at, "-X", chain)  # fails as well where it is not the rule that is refused
        if percent == 100:
            raise
        raise Unsupported("this kernel has no xt_statistic, which drops some packets") from refused
    _iptables(at, "-I", "INPUT", "-s", peer, "-j", chain)


def delay(at: PodNetwork, peer: str, milliseconds: int) -> None:
    """Hold every packet to ``peer`` back for so long; other peers keep what they have."""
    delayed = _delayed(at)
    band = delayed.get(peer) or _unused(set(delayed.values()))
    try:
        if not delayed:
            _tc(at, "qdisc", "replace", *_ROOT, "handle", "1:", "prio", "bands", str(_BANDS))
        netem = ("netem", "delay", f"{milliseconds}ms")
        _tc(at, "qdisc", "replace", *_DEVICE, "parent", f"1:{band:x}", *netem)
    except RuntimeError as refused:
        if _NO_SUCH_KIND not in str(refused):
            raise
        heal(at, peer)
        raise Unsupported("this kernel has no prio and netem, which delay packets") from refused
    if peer not in delayed:
        to_peer = ("match", "ip", "dst", f"{peer}/32", "flowid", f"1:{band:x}")
        _tc(at, "filter", "add", *_FILTERS, "protocol", "ip", "pref", str(band), "u32", *to_peer)


def heal(at: PodNetwork, peer: str) -> None:
    """Packets from and to ``peer`` go as they did; those of other peers are left alone."""
    chain = _chain(peer)
    if f"-N {chain}" in _iptables(at, "-S").splitlines():
        _iptables(at, "-D", "INPUT", "-s", peer, "-j", chain)
        _iptables(at, "-F", chain)
        _iptables(at, "-X", chain)
    delayed = _delayed(at)
    band = delayed.pop(peer, None)
    if band is not None and delayed:
        _tc(at, "filter", "delete", *_FILTERS, "pref", str(band))
        _tc(at, "qdisc", "delete", *_DEVICE, "parent", f"1:{band:x}")
    elif not delayed and _has_queues(at):
        _tc(at, "qdisc", "delete", *_ROOT)


def _has_queues(at: PodNetwork) -> bool:
    return "qdisc prio 1:" in _tc(at, "qdisc", "show", *_DEVICE)


def _delayed(at: PodNetwork) -> dict[str, int]:
    """The band of each peer whose packets are delayed."""
    if not _has_queues(at):
        return {}
    listed = _tc(at, "filter", "show", *_FILTERS)
    return {
        str(IPv4Address(int(found["address"], 16))): int(found["band"], 16)
        for found in _FILTER.finditer(listed)
    }


def _unused(bands: set[int]) -> int:
    free = set(range(_FIRST_BAND, _BANDS + 1)) - bands
    if not free:
        most = _BANDS - _FIRST_BAND + 1
        raise Unsupported(f"a pod's packets can be delayed to {most} others at once")
    return min(free)


def _chain(peer: str) -> str:
    return f"from-{peer}"


def _iptables(at: PodNetwork, *arguments: str) -> str:
    return at.run("iptables", "-w", "10", *arguments)


def _tc(at: PodNetwork, *arguments: str) -> str:
    return at.run("tc", *arguments)
