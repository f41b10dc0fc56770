"""Every address and name of a bare cluster, computed from its slot.

All lie in 198.18.0.0/15, the range reserved for benchmarks: it is routed nowhere, so nothing can
leak off the machine. Eight clusters fit side by side: the tests' own beside `make cluster`'s.
"""

from dataclasses import dataclass

RANGE = "198.18.0.0/15"
SLOTS = 8
MOST_NODES = 15
DOMAIN = "cluster.local"
API_PORT = 6443


OF_EVERY_CLUSTER = "anypod[0-9]-*"
"""Matches what has a name by any cluster's ``prefix``."""


@dataclass(frozen=True)
class Addresses:
    """The plan of one cluster. Nodes are counted from 1; the first has the control plane."""

    slot: int

    def __post_init__(self) -> None:
        if not 0 <= self.slot < SLOTS:
            raise ValueError(f"slot {self.slot}: there are slots 0 to {SLOTS - 1}")

    @property
    def prefix(self) -> str:
        """Begins the name of every namespace, link and cgroup of this cluster."""
        return f"anypod{self.slot}-"

    @property
    def switch(self) -> str:
        """The network namespace of the bridge that joins the nodes."""
        return f"{self.prefix}switch"

    @property
    def host_link(self) -> str:
        return f"{self.prefix}host"

    @property
    def host(self) -> str:
        return f"198.18.{self.slot}.1"

    def namespace(self, number: int) -> str:
        return f"{self.prefix}n{number}"

    def node(self, number: int) -> str:
        return f"198.18.{self.slot}.{number + 1}"

    def pods_of(self, number: int) -> str:
        return f"198.18.{128 + 16 * self.slot + number}.0/24"

    @property
    def pods(self) -> str:
        return f"198.18.{128 + 16 * self.slot}.0/20"

    @property
    def services(self) -> str:
        return f"198.19.{32 * self.slot}.0/19"

    @property
    def kubernetes_service(self) -> str:
        return f"198.19.{32 * self.slot}.1"

    @property
    def dns_service(self) -> str:
        return f"198.19.{32 * self.slot}.10"

    @property
    def api_server(self) -> str:
        return f"https://{self.node(1)}:{API_PORT}"
