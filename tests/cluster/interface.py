"""What a test can ask of a cluster, whoever provides it.

A provider is one module: bare.py, kind.py, existing.py. What it cannot do it says by raising
``Unsupported``, so that a test is skipped with the reason, and never passes for want of the fault.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Unsupported(RuntimeError):
    """This provider, or this machine's kernel, cannot do that. The message says why."""


class Pod(NamedTuple):
    """A pod by its names."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class ImageNames:
    """What pods call images that we built, and whether their node may pull them."""

    repository: str = "localhost"
    """What comes before the last part of a name: registry.example/team."""
    tag: str | None = None
    """Of all of them; None: each has its own."""
    pull_policy: str = "Never"

    def of(self, image: str) -> str:
        """Of an image that is built as ``localhost/NAME:TAG``."""
        name, _, tag = image.removeprefix("localhost/").partition(":")
        return f"{self.repository.rstrip('/')}/{name}:{self.tag or tag}"


class Faults(ABC):
    """What goes wrong in a cluster, and what mends it. Every verb returns when it has happened."""

    @abstractmethod
    def stop_node(self, node: str) -> None:
        """Cut its power: everything on it ends, and nothing says goodbye."""

    @abstractmethod
    def start_node(self, node: str) -> None:
        """Power on; returns when the node is Ready."""

    @abstractmethod
    def isolate_node(self, node: str) -> None:
        """No packet in or out; what runs on the node goes on."""

    @abstractmethod
    def heal_node(self, node: str) -> None:
        """Ends ``isolate_node``; does not wait for the node to be Ready."""

    @abstractmethod
    def kill_process(self, pod: Pod, container: str | None = None) -> None:
        """SIGKILL to the container's first process (of the pod's first container by default)."""

    @abstractmethod
    def freeze_container(self, pod: Pod, container: str | None = None) -> None:
        """SIGSTOP to every process of the container: it keeps its connections, and says nothing."""

    @abstractmethod
    def thaw_container(self, pod: Pod, container: str | None = None) -> None:
        """SIGCONT to every process of the container."""

    @abstractmethod
    def delay_packets(self, one: Pod, other: Pod, milliseconds: int) -> None:
        """Every packet between the two arrives so much later, until ``heal_packets``."""

    @abstractmethod
    def drop_packets(self, one: Pod, other: Pod, percent: int = 100) -> None:
        """So many of the packets between the two, chosen by chance, are lost."""

    @abstractmethod
    def heal_packets(self, one: Pod, other: Pod) -> None:
        """Ends ``delay_packets`` and ``drop_packets`` between the two."""

    @abstractmethod
    def restart_api_server(self) -> None:
        """Kill it; returns when the next one is ready."""

    @abstractmethod
    def stop_api_server(self, seconds: float) -> None:
        """Freeze it for so long: it takes connections, and says nothing; returns when it answers
        again."""

    @abstractmethod
    def stop_etcd(self, seconds: float) -> None:
        """Freeze Kubernetes' own store for so long; returns when it runs again."""


class Cluster(ABC):
    """A Kubernetes that is up."""

    provider: str
    """bare, kind or existing."""
    theirs: bool = False
    """It was there before, and may have more on it than what tests put there."""
    kubeconfig: Path
    """An administrator's; its current context is this cluster."""
    faults: Faults
    images: ImageNames = ImageNames()

    @abstractmethod
    def nodes(self) -> list[str]:
        """The nodes' names; the first has the control plane."""

    @abstractmethod
    def load(self, archives: Sequence[Path]) -> None:
        """Put the images of OCI archives onto every node; those that are there are left alone."""

    @abstractmethod
    def kubectl(self, *arguments: str, input: str | None = None, timeout: float = 60) -> str:  # noqa: A002
        """Call kubectl and return what it prints; raises KubectlError with its words."""

    @abstractmethod
    def down(self) -> None:
        """End it, unless it was there before or is to be kept."""
