"""What a cluster could change on the machine that it runs on, looked at from outside."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import cgroups
from tests.cluster.addresses import Addresses
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
_WRITTEN_BY_NODES = ("/run", "/var/log", "/var/lib", "/etc", "/opt", "/usr/libexec", "/tmp")


@dataclass(frozen=True)
class Machine:
    """Two are equal if nothing was changed between them."""

    settings: dict[str, str]
    folders: dict[str, frozenset[str]]
    firewall: str


def machine() -> Machine:
    settings = {name: Path("/proc/sys") / name for name in _SETTINGS}
    return Machine(
        settings={name: file.read_text() for name, file in settings.items() if file.exists()},
        folders={name: _names_in(Path(name)) for name in _WRITTEN_BY_NODES},
        firewall=_print("iptables", "-S"),
    )


def left_by(plan: Addresses) -> list[str]:
    """Processes, namespaces, links, routes, mounts, control groups and files of a bare cluster."""
    state = str(state_of(plan))
    processes = _print("ps", "-eo", "pid,args").splitlines()
    mounts = Path("/proc/mounts").read_text().splitlines()
    routes = _print("ip", "route", "show", "table", "all").splitlines()
    return [
        *(f"process: {line}" for line in processes if state in line),
        *(f"namespace: {file}" for file in Path("/run/netns").glob(f"{plan.prefix}*")),
        *(f"link: {file}" for file in Path("/sys/class/net").glob(f"{plan.prefix}*")),
        *(f"route: {line}" for line in routes if plan.host_link in line),
        *(f"mount: {line}" for line in mounts if state in line),
        *(f"control group: {group}" for group in cgroups.found(plan.prefix)),
        *(f"file: {file}" for file in (state_of(plan), *MOUNT_POINTS) if file.exists()),
    ]


def _names_in(folder: Path) -> frozenset[str]:
    return frozenset(file.name for file in folder.iterdir()) if folder.exists() else frozenset()


def _print(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout
