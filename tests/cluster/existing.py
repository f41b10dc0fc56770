"""The provider for a cluster that is there already: it is used as it is, and left as it is.

The user names its context, so that tests never run on whatever cluster was used last.
"""

import atexit
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.interface import Cluster, Faults, ImageNames, Pod, Unsupported
from tests.cluster.kubectl import Kubectl, KubectlError, find_kubectl

_NO_WAY_IN = "the nodes of an existing cluster cannot be entered from here"


class ExistingCluster(Cluster):
    provider = "existing"
    theirs = True

    def __init__(self, kubectl: Kubectl, images: ImageNames | None) -> None:
        """``images`` are there, or where the nodes can pull them from; None: none are."""
        self._kubectl = kubectl
        self._has_images = images is not None
        self.images = images or ImageNames()
        self.kubeconfig = kubectl.kubeconfig
        self.faults = NoFaults()

    def nodes(self) -> list[str]:
        return self._kubectl("get", "nodes", "--output=jsonpath={.items[*].metadata.name}").split()

    def load(self, archives: Sequence[Path]) -> None:
        if archives and not self._has_images:
            names = ", ".join(archive.name for archive in archives)
            raise Unsupported(
                f"{_NO_WAY_IN}: push {names} to where it pulls from, and say where that is "
                "(--image-repository)"
            )

    def kubectl(self, *arguments: str, input: str | None = None, timeout: float = 60) -> str:  # noqa: A002
        return self._kubectl(*arguments, input=input, timeout=timeout)

    def down(self) -> None:
        """It was there before, and stays; only our copy of its kubeconfig goes."""
        self.kubeconfig.unlink(missing_ok=True)


class NoFaults(Faults):
    def stop_node(self, node: str) -> None:
        raise Unsupported(_NO_WAY_IN)

    def start_node(self, node: str) -> None:
        raise Unsupported(_NO_WAY_IN)

    def isolate_node(self, node: str) -> None:
        raise Unsupported(_NO_WAY_IN)

    def heal_node(self, node: str) -> None:
        raise Unsupported(_NO_WAY_IN)

    def kill_process(self, pod: Pod, container: str | None = None) -> None:
        raise Unsupported(_NO_WAY_IN)

    def freeze_container(self, pod: Pod, container: str | None = None) -> None:
        raise Unsupported(_NO_WAY_IN)

    def thaw_container(self, pod: Pod, container: str | None = None) -> None:
        raise Unsupported(_NO_WAY_IN)

    def delay_packets(self, one: Pod, other: Pod, milliseconds: int) -> None:
        raise Unsupported(_NO_WAY_IN)

    def drop_packets(self, one: Pod, other: Pod, percent: int = 100) -> None:
        raise Unsupported(_NO_WAY_IN)

    def heal_packets(self, one: Pod, other: Pod) -> None:
        raise Unsupported(_NO_WAY_IN)

    def restart_api_server(self) -> None:
        raise Unsupported(_NO_WAY_IN)

    def stop_api_server(self, seconds: float) -> None:
        raise Unsupported(_NO_WAY_IN)

    def stop_etcd(self, seconds: float) -> None:
        raise Unsupported(_NO_WAY_IN)


def use(context: str | None, images: ImageNames | None = None) -> ExistingCluster:
    """The cluster of that context of the user's kubeconfig."""
    if not context:
        raise ValueError("name the context of the existing cluster: --context NAME")
    program = find_kubectl()
    if program is None:
        raise RuntimeError("an existing cluster needs kubectl on PATH")
    theirs = Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
    view = ("config", "view", "--raw", "--minify", "--flatten")
    try:
        # All that is known of this context and nothing else, in which it is the current one.
        copied = Kubectl(program, theirs, context)(*view)
    except KubectlError as refused:
        raise ValueError(f"{theirs} has no context {context}: {refused}") from refused
    # Made so that only its owner reads it.
    descriptor, name = tempfile.mkstemp(prefix="anypod-existing-", suffix=".kubeconfig")
    atexit.register(Path(name).unlink, missing_ok=True)  # however this process ends
    with os.fdopen(descriptor, "w") as kubeconfig:
        kubeconfig.write(copied)
    return ExistingCluster(Kubectl(program, Path(name)), images)
