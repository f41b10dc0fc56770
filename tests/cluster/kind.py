"""The provider for machines where Docker or podman answers and kind is installed.

Its nodes are containers, entered by the engine's own ``exec``. That does not take the node's
network, so the fault verbs also reach a node that is isolated.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.cluster import commands, loading, slots
from tests.cluster.binaries import cache
from tests.cluster.commands import CommandFailed
from tests.cluster.faults import NodeFaults
from tests.cluster.interface import Cluster
from tests.cluster.kubectl import Kubectl, find_kubectl
from tests.cluster.telling import step
from tests.cluster.versions import asked

_ENGINES = ("docker", "podman")
_ENGINE = "KIND_EXPERIMENTAL_PROVIDER"
"""Of the environment: kind's own way to name the engine."""
_NAMED_ENGINES = (*_ENGINES, "nerdctl", "finch", "nerdctl.lima")
"""What it may name; kind ignores anything else."""
_CREATE_SECONDS = 900
_NODE_IMAGE = "kindest/node"
"""Not of every release: ``kind`` names those that it has in its release notes."""
_END_IT = "end it first (make cluster-down), or ask for that"
_CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
# Both ways of every packet that leaves the machine or comes in, whatever else is filtered.
_WALL = (("raw", "PREROUTING", "-i"), ("mangle", "POSTROUTING", "-o"))


@dataclass(frozen=True)
class KindOptions:
    """What a user can say about the kind cluster."""

    name: str | None = None
    """A cluster that is there already: it is used, and left there."""
    image: str | None = None
    config: Path | None = None


def why_no_kind() -> str | None:
    """Why a kind cluster cannot be had here, or None."""
    if shutil.which("kind") is None:
        return "there is no kind on PATH"
    if find_kubectl() is None:
        return "there is no kubectl on PATH"
    if _engine() is None:
        return _no_engine()
    return None


@dataclass(frozen=True)
class Kind:
    """The kind program, about one cluster."""

    name: str
    engine: str

    def __call__(self, *arguments: str, timeout: float = 300) -> str:
        return self.say(*arguments, f"--name={self.name}", seconds=timeout)

    def say(self, *arguments: str, seconds: float) -> str:
        """What is not about this cluster alone."""
        told = os.environ | {_ENGINE: self.engine}
        return commands.run("kind", *arguments, seconds=seconds, env=told)

    def control_plane(self) -> str:
        """The first node. Not by kubectl: the API server is what may be down."""
        names = self("get", "nodes").split()
        return min(name for name in names if name.startswith(f"{self.name}-control-plane"))


class KindNodes:
    """The way into kind's nodes, for the fault verbs."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind

    def run(self, node: str, *command: str) -> str:
        return self._call("exec", "--privileged", node, *command)

    def stop(self, node: str) -> None:
        self._call("kill", node)

    def start(self, node: str) -> None:
        self._call("start", node)

    def isolate(self, node: str) -> None:
        for table, chain, direction in _WALL:
            self.run(node, "iptables", "-t", table, "-I", chain, direction, "eth0", "-j", "DROP")

    def heal(self, node: str) -> None:
        for table, chain, direction in _WALL:
            self.run(node, "iptables", "-t", table, "-D", chain, direction, "eth0", "-j", "DROP")

    def control_plane_process(self, program: str) -> tuple[str, int]:
        node = self._kind.control_plane()
        system = "io.kubernetes.pod.namespace=kube-system"
        found = self.run(
            *(node, "crictl", "ps", "--quiet", f"--name=^{program}$", f"--label={system}")
        ).split()
        if len(found) != 1:
            raise RuntimeError(f"{len(found)} containers {program} run on {node}")
        state = json.loads(self.run(node, "crictl", "inspect", "--output=json", found[0]))
        return node, int(state["info"]["pid"])

    def _call(self, *arguments: str) -> str:
        return commands.run(self._kind.engine, *arguments, seconds=120)


class KindCluster(Cluster):
    provider = "kind"

    def __init__(self, kind: Kind, kubectl: Kubectl, *, keep: bool, theirs: bool = False) -> None:
        self._kind = kind
        self._kubectl = kubectl
        self._keep = keep
        self.theirs = theirs
        self._inside = KindNodes(kind)
        self.kubeconfig = kubectl.kubeconfig
        self.faults = NodeFaults(kubectl, self._inside)

    def nodes(self) -> list[str]:
        return _nodes(self._kubectl)

    def load(self, archives: Sequence[Path]) -> None:
        for node in self.nodes():
            for archive in loading.missing(partial(self._inside.run, node), archives):
                with step(f"loading {archive.name} onto {node}"):
                    self._kind("load", "image-archive", str(archive), f"--nodes={node}")

    def kubectl(self, *arguments: str, input: str | None = None, timeout: float = 60) -> str:  # noqa: A002
        return self._kubectl(*arguments, input=input, timeout=timeout)

    def down(self) -> None:
        if not self._keep:
            end(self._kind.name)
            slots.give_back(int(self._kind.name.rpartition("-")[2]))


def name_of(slot: int) -> str:
    """As bare clusters do, kind clusters of ours stand side by side."""
    return f"anypod-{slot}"


def start(options: KindOptions, slot: int, nodes: int, *, keep: bool) -> KindCluster:
    """The cluster that ``options`` name, or one of ours: new, unless it is to be kept."""
    kind = _kind(options.name or name_of(slot))
    there = kind.name in _clusters(kind)
    if options.name is not None and not there:
        raise RuntimeError(f"there is no kind cluster {options.name}: kind get clusters lists them")
    if there and options.name is None and not keep:
        end(kind.name)
        there = False
    if not there:
        with step(f"kind creates the cluster {kind.name}"):
            _create(kind, options, nodes)
    elif options.name is None:
        _must_be(kind, options, nodes)
    theirs = options.name is not None
    return KindCluster(kind, _kubectl(kind), keep=keep or theirs, theirs=theirs)


def _nodes(kubectl: Kubectl) -> list[str]:
    """Not as kind lists them, which in front of several control planes has a load balancer."""
    names = kubectl("get", "nodes", "--output=jsonpath={.items[*].metadata.name}").split()
    return sorted(names, key=lambda name: ("control-plane" not in name, name))


def _must_be(kind: Kind, options: KindOptions, nodes: int) -> None:
    """A cluster that was kept, and has to be what is asked for now. Raises RuntimeError."""
    kubectl = _kubectl(kind)
    count = len(_nodes(kubectl))
    if options.config is None and count != nodes:
        raise RuntimeError(f"the kind cluster {kind.name} has {count} nodes: {_END_IT}")
    release = asked()
    if options.image is None and release is not None:
        told = json.loads(kubectl("version", "--output=json"))
        version = told["serverVersion"]["gitVersion"]
        if version != release.version:
            raise RuntimeError(f"the kind cluster {kind.name} is of {version}: {_END_IT}")


def running(name: str) -> KindCluster | None:
    """The cluster of that name, if one is up."""
    if why_no_kind() is not None:
        return None
    kind = _kind(name)
    return KindCluster(kind, _kubectl(kind), keep=True) if kind.name in _clusters(kind) else None


def end(name: str) -> None:
    with step(f"ending the kind cluster {name}"):
        _kind(name)("delete", "cluster", f"--kubeconfig={_kubeconfig(name)}")
    _kubeconfig(name).unlink(missing_ok=True)


def end_abandoned() -> None:
    """End what runs of tests have left that were killed."""
    there = set(_clusters(_kind("any")))
    for slot in slots.abandoned():
        if name_of(slot) in there:
            end(name_of(slot))


def _create(kind: Kind, options: KindOptions, nodes: int) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as written:
        json.dump(_configuration(nodes), written)
        written.flush()
        kind(
            *("create", "cluster", "--wait=300s", f"--kubeconfig={_kubeconfig(kind.name)}"),
            f"--config={options.config or written.name}",
            *_image(options),
            timeout=_CREATE_SECONDS,
        )
    kubectl = _kubectl(kind)
    # As on a bare cluster, pods run on every node.
    for node in _nodes(kubectl):
        taints = kubectl("get", f"node/{node}", "--output=jsonpath={.spec.taints[*].key}")
        if _CONTROL_PLANE in taints.split():
            kubectl("taint", "node", node, f"{_CONTROL_PLANE}-")
    kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=300s", timeout=310)


def _image(options: KindOptions) -> list[str]:
    """As KUBERNETES has it; without that, and beside a configuration, what kind takes itself."""
    release = asked()
    if options.image is not None:
        return [f"--image={options.image}"]
    if release is None or options.config is not None:
        return []
    return [f"--image={_NODE_IMAGE}:{release.version}"]


def _configuration(nodes: int) -> dict[str, object]:
    roles = ["control-plane", *["worker"] * (nodes - 1)]
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [{"role": role} for role in roles],
    }


def _kubectl(kind: Kind) -> Kubectl:
    program = find_kubectl()
    assert program is not None, "why_no_kind was asked first"
    kubeconfig = _kubeconfig(kind.name)
    kind("export", "kubeconfig", f"--kubeconfig={kubeconfig}")
    return Kubectl(program, kubeconfig)


def _kubeconfig(name: str) -> Path:
    """A file of its own: the user's is left alone. Others cannot come to its folder."""
    folder = cache() / "kubeconfigs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"{name}.kubeconfig"


def _kind(name: str) -> Kind:
    engine = _engine()
    if engine is None:
        raise RuntimeError(_no_engine())
    return Kind(name, engine)


def _clusters(kind: Kind) -> list[str]:
    return kind.say("get", "clusters", seconds=60).split()


def _engine() -> str | None:
    for name in _engines():
        if shutil.which(name) is None:
            continue
        with suppress(CommandFailed):
            commands.run(name, "info", seconds=60)
            return name
    return None


def _engines() -> tuple[str, ...]:
    """The one that the user has named, or those that are looked for."""
    named = os.environ.get(_ENGINE)
    return (named,) if named in _NAMED_ENGINES else _ENGINES


def _no_engine() -> str:
    wanted = _engines()
    return (
        f"{wanted[0]} does not answer" if len(wanted) == 1 else "neither docker nor podman answers"
    )
