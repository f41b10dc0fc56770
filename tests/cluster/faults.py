"""The fault verbs, told once for every provider whose nodes can be entered.

A provider says how (``NodeAccess``); what is done inside is the same on a bare node and on a kind
node, as both have containerd, a shell and iptables.
"""

import json
import time
from contextlib import suppress
from typing import Any, Protocol

from tests.cluster import packets
from tests.cluster.interface import Faults, Pod
from tests.cluster.kubectl import Kubectl, KubectlError
from tests.cluster.packets import PodNetwork
from tests.cluster.waiting import wait_until

_READY_SECONDS = 180
_ANSWER_SECONDS = 5
"""For one look at an API server that may be away."""
_CTR = ("ctr", "--namespace=k8s.io", "tasks")


class NodeAccess(Protocol):
    """What a provider can do to its nodes."""

    def run(self, node: str, *command: str) -> str:
        """Run a command as the node's root; raises RuntimeError with what it printed."""
        ...

    def stop(self, node: str) -> None: ...

    def start(self, node: str) -> None: ...

    def isolate(self, node: str) -> None: ...

    def heal(self, node: str) -> None: ...

    def control_plane_process(self, program: str) -> tuple[str, int]:
        """The node that runs etcd or kube-apiserver, and its process id there."""
        ...


class NodeFaults(Faults):
    def __init__(self, kubectl: Kubectl, access: NodeAccess) -> None:
        self._kubectl = kubectl
        self._access = access

    def stop_node(self, node: str) -> None:
        self._access.stop(node)

    def start_node(self, node: str) -> None:
        before = self._last_heartbeat(node)
        self._access.start(node)

        def is_renewed() -> bool:
            nonlocal before
            now = self._last_heartbeat(node)
            if before is None:  # the API server was on that node: what it says first is old
                before = now
            return now not in (None, before)

        # If that node has it: it answers before it says that it is ready.
        wait_until(self._api_answers, "the API server is ready", _READY_SECONDS)
        # The API server believes that a node is Ready until it has missed some heartbeats.
        wait_until(is_renewed, f"{node} renews its lease", 90)
        self._kubectl(
            *("wait", f"node/{node}", "--for=condition=Ready", f"--timeout={_READY_SECONDS}s"),
            timeout=_READY_SECONDS + 10,
        )

    def isolate_node(self, node: str) -> None:
        self._access.isolate(node)

    def heal_node(self, node: str) -> None:
        self._access.heal(node)

    def kill_process(self, pod: Pod, container: str | None = None) -> None:
        node, first, _ = self._processes(pod, container)
        self._signal(node, "KILL", first)

    def freeze_container(self, pod: Pod, container: str | None = None) -> None:
        stopped: set[int] = set()
        until = time.monotonic() + _READY_SECONDS
        # What was forked while others were being stopped is stopped in the next round.
        while True:
            node, first, every = self._processes(pod, container)
            fresh = [first, *sorted(every - {first})] if not stopped else sorted(every - stopped)
            if not fresh:
                return
            if time.monotonic() > until:
                raise RuntimeError(f"{pod} makes processes faster than they can be stopped")
            self._signal(node, "STOP", *fresh)
            stopped.update(fresh)

    def thaw_container(self, pod: Pod, container: str | None = None) -> None:
        node, first, every = self._processes(pod, container)
        self._signal(node, "CONT", *sorted(every - {first}), first)

    def delay_packets(self, one: Pod, other: Pod, milliseconds: int) -> None:
        for at, peer in self._both_ends(one, other):
            packets.delay(at, peer, milliseconds)

    def drop_packets(self, one: Pod, other: Pod, percent: int = 100) -> None:
        for at, peer in self._both_ends(one, other):
            packets.drop(at, peer, percent)

    def heal_packets(self, one: Pod, other: Pod) -> None:
        for at, peer in self._both_ends(one, other):
            packets.heal(at, peer)

    def restart_api_server(self) -> None:
        node, pid = self._access.control_plane_process("kube-apiserver")
        self._signal(node, "KILL", pid)
        wait_until(
            lambda: self._is_another("kube-apiserver", (node, pid)),
            "another kube-apiserver runs",
            _READY_SECONDS,
        )
        wait_until(self._api_answers, "the API server is ready", _READY_SECONDS)

    def stop_api_server(self, seconds: float) -> None:
        self._freeze("kube-apiserver", seconds)
        wait_until(self._api_answers, "the API server is ready", _READY_SECONDS)

    def stop_etcd(self, seconds: float) -> None:
        self._freeze("etcd", seconds)

    def _freeze(self, program: str, seconds: float) -> None:
        node, pid = self._access.control_plane_process(program)
        self._signal(node, "STOP", pid)
        try:
            time.sleep(seconds)
        finally:
            self._signal(node, "CONT", pid)

    def _is_another(self, program: str, before: tuple[str, int]) -> bool:
        try:
            return self._access.control_plane_process(program) != before
        except (RuntimeError, OSError):
            return False  # there is none at the moment

    def _last_heartbeat(self, node: str) -> str | None:
        with suppress(KubectlError):
            return self._heartbeat(node)
        return None

    def _signal(self, node: str, name: str, *pids: int) -> None:
        # A shell's own kill: not every node has the program. Some may have ended meanwhile.
        each = f"kill -{name} $pid 2>/dev/null || ! kill -0 $pid 2>/dev/null || exit 1"
        script = f'for pid in "$@"; do {each}; done'
        self._access.run(node, "sh", "-c", script, "sh", *map(str, pids))

    def _processes(self, pod: Pod, container: str | None) -> tuple[str, int, set[int]]:
        """The pod's node, and as this counts: the container's first process, and all of them."""
        described = self._describe(pod)
        node, container_id = str(described["spec"]["nodeName"]), _container_id(described, container)
        first = self._first_process(node, container_id)
        listed = self._access.run(node, *_CTR, "ps", container_id).splitlines()[1:]
        return node, first, {int(line.split()[0]) for line in listed}

    def _first_process(self, node: str, container_id: str) -> int:
        for line in self._access.run(node, *_CTR, "ls").splitlines()[1:]:
            name, pid, *_ = line.split()
            if name == container_id:
                return int(pid)
        raise RuntimeError(f"container {container_id} does not run on {node}")

    def _both_ends(self, one: Pod, other: Pod) -> list[tuple[PodNetwork, str]]:
        """Each pod's network, with the other's address."""
        described = {pod: self._describe(pod) for pod in (one, other)}
        return [
            (self._network(described[at]), str(described[peer]["status"]["podIP"]))
            for at, peer in ((one, other), (other, one))
        ]

    def _network(self, described: dict[str, Any]) -> PodNetwork:
        node = str(described["spec"]["nodeName"])
        pid = self._first_process(node, _container_id(described, None))
        return PodNetwork(lambda *command: self._access.run(node, *command), pid)

    def _describe(self, pod: Pod) -> dict[str, Any]:
        wanted = ("get", "pod", pod.name, f"--namespace={pod.namespace}", "--output=json")
        described: dict[str, Any] = json.loads(self._kubectl(*wanted))
        return described

    def _heartbeat(self, node: str) -> str:
        lease = ("get", "lease", node, "--namespace=kube-node-lease")
        return self._kubectl(*lease, "--output=jsonpath={.spec.renewTime}", timeout=_ANSWER_SECONDS)

    def _api_answers(self) -> bool:
        try:
            return self._kubectl("get", "--raw=/readyz", timeout=_ANSWER_SECONDS) == "ok"
        except KubectlError:
            return False


def _container_id(described: dict[str, Any], container: str | None) -> str:
    pod = described["metadata"]["name"]
    for status in described["status"].get("containerStatuses", []):
        if container in (None, status["name"]) and "containerID" in status:
            return str(status["containerID"]).removeprefix("containerd://")
    raise RuntimeError(f"pod {pod} has no container {container or ''} that was started")
