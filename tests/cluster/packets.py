"""Losing and delaying packets between two pods, inside the pods' own network namespaces.

A packet is judged once: where it arrives when it is dropped, where it leaves when it is delayed.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tests.cluster.interface import Unsupported

_NO_NETEM = "qdisc kind is unknown"


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
    _iptables(at, "-A", chain, *(chance if percent < 100 else ()), "-j", "DROP")
    _iptables(at, "-I", "INPUT", "-s", peer, "-j", chain)


def delay(at: PodNetwork, peer: str, milliseconds: int) -> None:
    """Hold every packet to ``peer`` back for so long."""
    try:
        _tc(at, "qdisc", "add", "dev", "eth0", "root", "handle", "1:", "prio", "bands", "4")
        _tc(
            at,
            *(
                "qdisc",
                "add",
                "dev",
                "eth0",
                "parent",
                "1:4",
                "netem",
                "delay",
                f"{milliseconds}ms",
            ),
        )
    except RuntimeError as refused:
        if _NO_NETEM not in str(refused):
            raise
        heal(at, peer)
        raise Unsupported("this kernel has no netem, which delays packets") from refused
    to_peer = ("match", "ip", "dst", f"{peer}/32", "flowid", "1:4")
    _tc(at, "filter", "add", "dev", "eth0", "parent", "1:", "protocol", "ip", "u32", *to_peer)


def heal(at: PodNetwork, peer: str) -> None:
    chain = _chain(peer)
    if f"-N {chain}" in _iptables(at, "-S").splitlines():
        _iptables(at, "-D", "INPUT", "-s", peer, "-j", chain)
        _iptables(at, "-F", chain)
        _iptables(at, "-X", chain)
    if "qdisc prio 1:" in _tc(at, "qdisc", "show", "dev", "eth0"):
        _tc(at, "qdisc", "delete", "dev", "eth0", "root")


def _chain(peer: str) -> str:
    return f"from-{peer}"


def _iptables(at: PodNetwork, *arguments: str) -> str:
    return at.run("iptables", "-w", "10", *arguments)


def _tc(at: PodNetwork, *arguments: str) -> str:
    return at.run("tc", *arguments)
