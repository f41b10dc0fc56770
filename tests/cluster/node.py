"""One bare node: a network namespace that stays, and a machine in it that boots and loses power.

The machine is a mount and a PID namespace. Whatever it writes outside of its own folder lands on a
file system of its own, which ends with it, so this machine's /run and /var/log stay as they are.
The kernel settings that kubelet insists on are shown to it as set already.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.cluster import cgroups, commands, network, node_files
from tests.cluster.binaries import Binaries
from tests.cluster.node_files import Place

# What kubelet and the CNI plugins write to, whatever they are told.
MOUNT_POINTS = (Path("/var/lib/cni"), Path("/var/lib/kubelet"))
_FIRST_PROCESS = Path(__file__).with_name("first_process.py")
_GONE_SECONDS = 30.0
# kubelet would set these on the whole machine, and leave them; it gets files that say it has.
_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


@dataclass(frozen=True)
class Machine:
    """What first_process.py is told."""

    programs: Mapping[str, Sequence[str]]
    environment: Mapping[str, str]
    logs: str
    pids: str
    empty: Sequence[str]
    bound: Mapping[str, str]


@dataclass(frozen=True)
class Node:
    place: Place
    binaries: Binaries

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def namespace(self) -> str:
        return self.place.plan.namespace(self.place.number)

    @property
    def logs(self) -> Path:
        return self.place.folder / "log"

    def prepare(self, sandbox_image: str, others: Mapping[str, Sequence[str]]) -> None:
        """Write its files; the programs ``others`` run beside those that every node has."""
        self._issue_credentials()
        folder = self.place.folder
        for name in ("cni", "kubelet", "log", "pids", "settings"):
            (folder / name).mkdir(parents=True)
        for name, content in node_files.files(self.place, sandbox_image).items():
            (folder / name).write_text(content)
        machine = self._machine({**node_files.programs(self.place), **others})
        (folder / "machine.json").write_text(json.dumps(asdict(machine)))

    def boot(self) -> None:
        """Power on; whether it becomes Ready is for others to see."""
        cgroups.create(self.namespace)
        for folder in MOUNT_POINTS:
            folder.mkdir(parents=True, exist_ok=True)
        # It outlives this process, so is no child of it. nsenter, as `ip netns exec` would
        # mount another /sys, without the control groups.
        command = [
            *("setsid", "--fork", "nsenter", f"--net=/run/netns/{self.namespace}"),
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *(sys.executable, "-I", "-S", str(_FIRST_PROCESS)),
            str(self.place.folder / "machine.json"),
        ]
        with (self.place.folder / "first_process.log").open("ab") as log:
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                timeout=60,
                check=True,
            )
        network.heal(self.place.plan, self.place.number)

    def lose_power(self) -> None:
        """End at once, as a machine does whose power is cut: not a packet says so."""
        network.isolate(self.place.plan, self.place.number)
        holder = self._holder()
        if holder is not None:
            holder.end()
        cgroups.remove(self.namespace)

    def run(self, *command: str, timeout: float = 60) -> str:
        """Run a command on the node and return what it prints."""
        holder = self._holder()
        if holder is None:
            raise RuntimeError(f"node {self.name} is not running")
        entered = (*holder.entering, *command)
        done = commands.attempt(*entered, seconds=timeout, env=self._environment())
        if done.returncode != 0:
            raise RuntimeError(f"{self.name}: {' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def pid_of(self, program: str) -> int:
        """The process id, as the node counts, of a program that is kept running."""
        return int((self.place.folder / "pids" / program).read_text())

    def _holder(self) -> "Holder | None":
        found = commands.run("ip", "netns", "pids", self.namespace, seconds=30)
        return next(
            (Holder(pid) for pid in map(int, found.split()) if _command(pid) == "unshare"), None
        )

    def _issue_credentials(self) -> None:
        plan, authority = self.place.plan, self.place.authority
        user = f"/O=system:nodes/CN=system:node:{self.name}"
        authority.issue(self.name, user, f"DNS:{self.name}", f"IP:{self.place.address}")
        authority.kubeconfig(self.name, plan.api_server)

    def _environment(self) -> Mapping[str, str]:
        usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": f"{self.binaries.bin}:{usual}", "HOME": "/root"}

    def _machine(self, programs: Mapping[str, Sequence[str]]) -> Machine:
        folder = self.place.folder
        bound = {str(self.logs): "/var/log", str(folder / "kubelet"): "/var/lib/kubelet"}
        for setting, value in _SETTINGS.items():
            shown = folder / "settings" / setting.replace("/", ".")
            shown.write_text(value + "\n")
            bound[str(shown)] = f"/proc/sys/{setting}"
        return Machine(
            programs=programs,
            environment=self._environment(),
            logs="/var/log",
            pids=str(folder / "pids"),
            empty=["/run", "/var/lib/cni"],
            bound=bound,
        )


@dataclass(frozen=True)
class Holder:
    """The process of this machine that holds a node's namespaces; they end with it."""

    pid: int

    @property
    def entering(self) -> Sequence[str]:
        namespaces = f"/proc/{self.pid}/ns"
        inside = (f"--mount={namespaces}/mnt", f"--pid={namespaces}/pid_for_children")
        return ("nsenter", f"--net={namespaces}/net", *inside, "--")

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        until = time.monotonic() + _GONE_SECONDS
        while _command(self.pid) == "unshare":
            if time.monotonic() > until:
                raise RuntimeError(f"process {self.pid} does not end")
            time.sleep(0.01)


def _command(pid: int) -> str | None:
    """The name of a process that lives: not of one that has ended and was not reaped yet."""
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if rest.split()[0] == "Z" else name
