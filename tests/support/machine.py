"""What a cluster could change on the machine that it runs on, looked at from outside."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.addresses import OF_EVERY_CLUSTER, Addresses
from tests.cluster.bare import state_of
from tests.cluster.node import MOUNT_POINTS

_SETTINGS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "net/ipv4/ip_forward",
    "net/netfilter/nf_conntrack_max",
    "net/bridge/bridge-nf-call-iptables",
)
# Where the programs of a node would write if it were this machine.
_WRITTEN_BY_NODES = (
    "/etc/cni",
    "/etc/kubernetes",
    "/opt/cni",
    "/run/containerd",
    "/run/flannel",
    "/run/kubernetes",
    "/usr/libexec/kubernetes",
    "/var/lib/containerd",
    "/var/lib/cni",
    "/var/lib/dockershim",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
)


@dataclass(frozen=True)
class Machine:
    """Two are equal if nothing was changed between them."""

    settings: dict[str, str]
    written: frozenset[str]
    firewall: str


def machine() -> Machine:
    settings = {name: Path("/proc/sys") / name for name in _SETTINGS}
    return Machine(
        settings={name: file.read_text() for name, file in settings.items() if file.exists()},
        written=frozenset(
            str(file) for folder in _WRITTEN_BY_NODES for file in Path(folder).rglob("*")
        ),
        firewall=_print("iptables", "-S"),
    )


def left_by(plan: Addresses) -> list[str]:
    """Processes, namespaces, links, routes, mounts, control groups and files of a bare cluster."""
    state = str(state_of(plan))
    others = any(Path("/run/netns").glob(OF_EVERY_CLUSTER))
    folders = (state_of(plan),) if others else (state_of(plan), *MOUNT_POINTS)
    mounts = Path("/proc/mounts").read_text().splitlines()
    routes = _print("ip", "route", "show", "table", "all").splitlines()
    return [
        *(f"process: {line}" for line in _processes(state)),
        *(f"namespace: {file}" for file in Path("/run/netns").glob(f"{plan.prefix}*")),
        *(f"link: {file}" for file in Path("/sys/class/net").glob(f"{plan.prefix}*")),
        *(f"route: {line}" for line in routes if plan.host_link in line),
        *(f"mount: {line}" for line in mounts if state in line),
        *(f"control group: {group}" for group in _control_groups(plan.prefix)),
        *(f"file: {file}" for file in folders if file.exists()),
    ]


def _control_groups(prefix: str) -> Iterator[str]:
    """Other clusters end theirs meanwhile: os.walk passes over that, and rglob does not."""
    for folder, names, _ in os.walk("/sys/fs/cgroup"):
        yield from (f"{folder}/{name}" for name in names if name.startswith(prefix))


def _processes(state: str) -> Iterator[str]:
    """Those that were told of the cluster's files, by arguments or environment; but not us."""
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        with suppress(OSError):
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if f"{state}/".encode() in told:
                yield f"{process.name} {told[:200]!r}"


def _print(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout
