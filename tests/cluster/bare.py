"""The provider for a Linux machine with root and Go, and neither Docker nor a registry.

A cluster is told from its slot alone (addresses.py). Its files are in one folder, and the one that
says that it is complete is written last.
"""

import errno
import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import (
    commands,
    control_plane,
    dns,
    image_store,
    loading,
    network,
    node_files,
    own_images,
    remains,
    slots,
)
from tests.cluster.addresses import API_PORT, MOST_NODES, Addresses
from tests.cluster.alone import alone
from tests.cluster.binaries import COREDNS, Binaries, all_binaries, why_no_tools, why_not
from tests.cluster.certificates import Authority
from tests.cluster.faults import NodeFaults
from tests.cluster.interface import Cluster
from tests.cluster.kubectl import Kubectl
from tests.cluster.node import Node
from tests.cluster.node_files import Place
from tests.cluster.telling import step
from tests.cluster.versions import Kubernetes
from tests.cluster.waiting import wait_until

NEEDS = (
    "containerd",
    "runc",
    "iptables",
    "ipset",
    "conntrack",
    "etcd",
    "openssl",
    "ip",
    "nsenter",
    "/usr/lib/cni/bridge",
)
_INSTALL = Path(__file__).parents[1] / "install-system-packages"
_READY_SECONDS = 180.0
_CLEAR_SECONDS = 120.0
_LAST_LINES = 5


def why_no_bare(release: Kubernetes) -> str | None:
    """Why a bare cluster cannot be had here, or None."""
    if os.uname().sysname != "Linux" or os.getuid() != 0:
        return "it needs Linux and root"
    missing = [name for name in NEEDS if shutil.which(name) is None]
    if missing and shutil.which("apt-get") is None:
        return f"not on PATH: {' '.join(missing)}"
    return why_not(release) or why_no_tools() or own_images.PAUSE.why_not()


@dataclass(frozen=True)
class Site:
    """Where a bare cluster is, and what it is made of."""

    plan: Addresses
    release: Kubernetes
    count: int
    binaries: Binaries

    @property
    def state(self) -> Path:
        return state_of(self.plan)

    @property
    def authority(self) -> Authority:
        return Authority(self.state / "certificates")

    @property
    def nodes(self) -> list[Node]:
        return [
            Node(Place(self.plan, number, self.state / f"n{number}", self.authority), self.binaries)
            for number in range(1, self.count + 1)
        ]


class BareCluster(Cluster):
    provider = "bare"

    def __init__(self, site: Site, *, keep: bool) -> None:
        self._site = site
        self._keep = keep
        self._nodes = {node.name: node for node in site.nodes}
        self.kubeconfig = site.authority.kubeconfig_of("admin")
        self._kubectl = Kubectl(site.binaries.path("kubectl"), self.kubeconfig)
        self.faults = NodeFaults(self._kubectl, BareNodes(site))

    @property
    def bin(self) -> Path:
        """Where kubectl and helm are."""
        return self._site.binaries.bin

    def must_be(self, release: Kubernetes, nodes: int) -> None:
        """Raises RuntimeError if another cluster than that was asked for is up."""
        is_up = (self._site.release.version, self._site.count)
        if is_up != (release.version, nodes):
            raise RuntimeError(
                f"Kubernetes {is_up[0]} with {is_up[1]} nodes is up, not {release.version} with "
                f"{nodes}: end it first (make cluster-down)"
            )

    def nodes(self) -> list[str]:
        return list(self._nodes)

    def load(self, archives: Sequence[Path]) -> None:
        with step("loading images onto the nodes"), ThreadPoolExecutor() as pool:
            list(pool.map(lambda node: _load(node, archives), self._nodes.values()))

    def kubectl(self, *arguments: str, input: str | None = None, timeout: float = 60) -> str:  # noqa: A002
        return self._kubectl(*arguments, input=input, timeout=timeout)

    def run(self, node: str, *command: str) -> str:
        """Run a command as the node's root, with what the node sees."""
        return self._nodes[node].run(*command)

    def down(self) -> None:
        """Its slot is free for others then."""
        if not self._keep:
            end(self._site.plan)
            slots.give_back(self._site.plan.slot)


class BareNodes:
    """The way into a bare cluster's nodes, for the fault verbs."""

    def __init__(self, site: Site) -> None:
        self._plan = site.plan
        self._nodes = {node.name: node for node in site.nodes}

    def run(self, node: str, *command: str) -> str:
        return self._nodes[node].run(*command)

    def stop(self, node: str) -> None:
        self._nodes[node].lose_power()

    def start(self, node: str) -> None:
        self._nodes[node].boot()

    def isolate(self, node: str) -> None:
        network.isolate(self._plan, self._nodes[node].place.number)

    def heal(self, node: str) -> None:
        network.heal(self._plan, self._nodes[node].place.number)

    def control_plane_process(self, program: str) -> tuple[str, int]:
        return "n1", self._nodes["n1"].pid_of(program)


def state_of(plan: Addresses) -> Path:
    root = os.environ.get("CLUSTER_STATE") or "/var/lib/anypod-cluster"
    return Path(root) / str(plan.slot)


def running(plan: Addresses, *, keep: bool = True) -> BareCluster | None:
    """The cluster of this slot, if one is up."""
    try:
        written = json.loads((state_of(plan) / "cluster.json").read_text())
    except FileNotFoundError:
        return None
    if not remains.namespaces(plan):
        return None  # the machine has been started anew since
    release = Kubernetes(written["kubernetes"])
    site = Site(plan, release, written["nodes"], all_binaries(release))
    return BareCluster(site, keep=keep)


def start(
    plan: Addresses,
    release: Kubernetes,
    nodes: int,
    *,
    keep: bool,
    archives: Sequence[Path] = (),
) -> BareCluster:
    """A new cluster, in the place of what this slot has; if it is kept, one that is up will do.

    Its nodes have the images of ``archives``.
    """
    if not 1 <= nodes <= MOST_NODES:
        raise ValueError(f"{nodes} nodes: a bare cluster has 1 to {MOST_NODES}")
    there = _taken(plan, release, nodes) if keep else None
    if there is None:
        binaries, images = prepare(release, archives)
        site = Site(plan, release, nodes, binaries)
        with alone(f"anypod-cluster-{plan.slot}"):
            # Somebody else may have been quicker.
            there = _taken(plan, release, nodes) if keep else None
            if there is None:
                return _start(site, images, keep=keep)
    there.load(archives)
    return there


def prepare(release: Kubernetes, archives: Sequence[Path] = ()) -> tuple[Binaries, Path]:
    """Have what every cluster is started with: its programs, and the images of its nodes."""
    _install()
    binaries = all_binaries(release)
    return binaries, image_store.filled([own_images.PAUSE.archive(), *archives])


def _taken(plan: Addresses, release: Kubernetes, nodes: int) -> BareCluster | None:
    there = running(plan)
    if there is not None:
        there.must_be(release, nodes)
    return there


def _start(site: Site, images: Path, *, keep: bool) -> BareCluster:
    _clear(site.plan)
    with step("starting the nodes"):
        _build(site, images)
    cluster = BareCluster(site, keep=keep)
    with step("waiting for the API server"):
        _wait_for_api(site)
    with step("waiting until the nodes are Ready and names are served"):
        cluster.kubectl("apply", "-f", "-", input=_dns(site))
        _wait_until_ready(cluster)
    written = {"kubernetes": site.release.version, "nodes": site.count}
    (site.state / "cluster.json").write_text(json.dumps(written))
    return cluster


def end(plan: Addresses) -> None:
    """End it and leave nothing; also what was started half-way, and what is not there."""
    with alone(f"anypod-cluster-{plan.slot}"):
        _clear(plan)


def _install() -> None:
    """What is missing of the system's packages; nothing is asked or changed if nothing is."""
    with step("looking for what a bare cluster needs of the system's packages"):
        done = commands.attempt("sh", _INSTALL, *NEEDS, seconds=900)
    if done.returncode != 0:
        raise RuntimeError(f"what a bare cluster needs is missing: {done.stderr.strip()}")


def last_words(plan: Addresses) -> str:
    """The ends of its programs' logs, as far as there are any."""
    logs = sorted(state_of(plan).glob("n*/log/*.log"))
    ends = [(log, log.read_text(errors="replace").splitlines()[-_LAST_LINES:]) for log in logs]
    return "\n".join(f"{log.parts[-3]} {log.stem}: {line}" for log, end in ends for line in end)


def end_abandoned() -> None:
    """End what runs of tests have left that were killed."""
    for plan in map(Addresses, slots.abandoned()):
        if remains.namespaces(plan) or state_of(plan).exists():
            end(plan)


def _clear(plan: Addresses) -> None:
    state = state_of(plan)
    with step("ending what there is of a cluster"):
        remains.remove(plan)
        wait_until(lambda: _is_removed(state), f"nobody writes to {state} any more", _CLEAR_SECONDS)
    # Another cluster may be there, or a file system of the user's be mounted.
    with suppress(OSError):
        state.parent.rmdir()


def _is_removed(folder: Path) -> bool:
    """False when somebody has written to it meanwhile: what a killed start had begun."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return not folder.exists()
    except OSError as refused:
        if refused.errno != errno.ENOTEMPTY:
            raise
        return False
    return True


def _build(site: Site, images: Path) -> None:
    first, *others = site.nodes
    site.state.mkdir(parents=True)
    site.authority.create()
    control_plane.issue_certificates(site.authority, site.plan)
    network.connect(site.plan, site.count)
    data = first.place.folder / "etcd"
    first.prepare(own_images.PAUSE.image, control_plane.programs(site.authority, site.plan, data))
    for node in others:
        node.prepare(own_images.PAUSE.image, {})
    for node in site.nodes:
        image_store.link(images, node_files.image_root(node.place))
        node.boot()


def _dns(site: Site) -> str:
    program = site.binaries.path(COREDNS.name).resolve()
    first = site.nodes[0].name
    return dns.manifest(own_images.PAUSE.image, program, site.plan.dns_service, first)


def _wait_for_api(site: Site) -> None:
    wait_until(
        lambda: control_plane.answers_ready(site.plan.node(1), API_PORT, site.authority),
        f"the API server is ready (logs: {site.nodes[0].logs})",
        _READY_SECONDS,
    )


def _wait_until_ready(cluster: BareCluster) -> None:
    # A pod cannot be made in a namespace before its service account is.
    wanted = [f"node/{node}" for node in cluster.nodes()] + ["serviceaccount/default"]
    _wait_for(cluster, "--for=create", *wanted)
    _wait_for(cluster, "--for=condition=Ready", "nodes", "--all")
    _wait_for(cluster, "--for=condition=Available", "-n", "kube-system", "deployment/coredns")


def _wait_for(cluster: BareCluster, *what: str) -> None:
    cluster.kubectl("wait", *what, f"--timeout={_READY_SECONDS:g}s", timeout=_READY_SECONDS + 10)


def _load(node: Node, archives: Sequence[Path]) -> None:
    wait_until(lambda: _runs_containers(node), f"containerd on {node.name}", _READY_SECONDS)
    for archive in loading.missing(node.run, archives):
        node.run(*loading.import_image(archive), timeout=300)


def _runs_containers(node: Node) -> bool:
    try:
        node.run("ctr", "version")
    except RuntimeError:
        return False
    return True
