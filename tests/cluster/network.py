"""The links and routes of a bare cluster: a switch, its nodes, and this machine as a client.

Nothing but one link and its routes is in the machine's own namespace. The bridge has a namespace
of its own, so that neither the machine's firewall nor a Docker beside it filters its packets.
"""

import subprocess

from tests.cluster import commands
from tests.cluster.addresses import RANGE, Addresses

_SECONDS = 30
_NO_SUCH_DEVICE = "Cannot find device"


def connect(plan: Addresses, nodes: int) -> None:
    """Make everything for ``nodes`` nodes."""
    _keep_in()
    _make_switch(plan)
    for number in range(1, nodes + 1):
        _make_node(plan, number, nodes)
    for number in range(1, nodes + 1):
        _ip("route", "add", plan.pods_of(number), "via", plan.node(number))
    _ip("route", "add", plan.services, "via", plan.node(1))


def disconnect(plan: Addresses) -> None:
    """Remove what is in the machine's own namespace; the others take what they have along."""
    done = _try_ip("link", "delete", plan.host_link)
    if done.returncode != 0 and _NO_SUCH_DEVICE not in done.stderr:
        raise RuntimeError(f"ip link delete {plan.host_link}: {done.stderr.strip()}")


def isolate(plan: Addresses, number: int) -> None:
    """No packet in or out of the node: its port leaves the bridge, and its carrier stays."""
    _ip("-n", plan.switch, "link", "set", f"n{number}", "nomaster")


def heal(plan: Addresses, number: int) -> None:
    _ip("-n", plan.switch, "link", "set", f"n{number}", "master", "bridge")


def _keep_in() -> None:
    """Outlives the cluster: a late call to one that is gone must not leave this machine."""
    done = _try_ip("route", "add", "blackhole", RANGE)
    if done.returncode != 0 and "File exists" not in done.stderr:
        raise RuntimeError(f"ip route add blackhole {RANGE}: {done.stderr.strip()}")


def _make_switch(plan: Addresses) -> None:
    inside = ("-n", plan.switch)
    _ip("netns", "add", plan.switch)
    _ip(*inside, "link", "add", "bridge", "type", "bridge")
    _ip(*inside, "link", "set", "bridge", "up")
    peer = ("type", "veth", "peer", "name", "host", "netns", plan.switch)
    _ip("link", "add", plan.host_link, *peer)
    _ip(*inside, "link", "set", "host", "master", "bridge", "up")
    _ip("address", "add", f"{plan.host}/24", "dev", plan.host_link)
    _ip("link", "set", plan.host_link, "up")


def _make_node(plan: Addresses, number: int, nodes: int) -> None:
    name = plan.namespace(number)
    inside = ("-n", name)
    _ip("netns", "add", name)
    _ip(*inside, "link", "set", "lo", "up")
    peer = ("type", "veth", "peer", "name", f"n{number}", "netns", plan.switch)
    _ip(*inside, "link", "add", "eth0", *peer)
    _ip("-n", plan.switch, "link", "set", f"n{number}", "master", "bridge", "up")
    _ip(*inside, "address", "add", f"{plan.node(number)}/24", "dev", "eth0")
    _ip(*inside, "link", "set", "eth0", "up")
    # There is no default route: nothing in the cluster can leave the machine. kube-proxy translates
    # a service's address before the packet is sent, but some route has to take it that far.
    _ip(*inside, "route", "add", plan.services, "dev", "lo", "src", plan.node(number))
    for other in range(1, nodes + 1):
        if other != number:
            _ip(*inside, "route", "add", plan.pods_of(other), "via", plan.node(other))


def _ip(*arguments: str) -> None:
    commands.run("ip", *arguments, seconds=_SECONDS)


def _try_ip(*arguments: str) -> subprocess.CompletedProcess[str]:
    return commands.attempt("ip", *arguments, seconds=_SECONDS)
