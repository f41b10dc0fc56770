"""What the operator is told at its start; read once from the command line and passed down."""

import argparse
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

GATEWAY_LABELS = {
    "app.kubernetes.io/name": "anypod",
    "app.kubernetes.io/component": "gateway",
}
OPERATOR_LABELS = {
    "app.kubernetes.io/name": "anypod",
    "app.kubernetes.io/component": "operator",
}
DNS_LABELS = {"k8s-app": "kube-dns"}
"""As nearly every cluster has them, for its Service selects by them."""
LABELS = {"gateway": GATEWAY_LABELS, "operator": OPERATOR_LABELS, "dns": DNS_LABELS}
"""By whose pods they are."""


@dataclass(frozen=True, slots=True)
class Settings:
    worker_image: str
    """Of pools that name none."""
    link_key: str = field(repr=False)
    """Shared with gateways: each pool's link token is derived from it."""
    namespaces: tuple[str, ...] = ()
    """Whose pools are served; none given: all."""
    home: str = "anypod"
    """The namespace in which gateways and operator run."""
    gateway_labels: dict[str, str] = field(default_factory=lambda: dict(GATEWAY_LABELS))
    """Of the gateways' pods."""
    operator_labels: dict[str, str] = field(default_factory=lambda: dict(OPERATOR_LABELS))
    """Of the operator's pods."""
    pool_url: str = ""
    """Where a pool is called, with ``{pool}`` for what clients call it."""
    cluster_networks: tuple[str, ...] = ()
    """The cluster's own networks that are not private ranges anyway: no program may reach them."""
    dns_namespace: str = "kube-system"
    """Of the pods that answer the cluster's DNS."""
    dns_labels: dict[str, str] = field(default_factory=lambda: dict(DNS_LABELS))
    """Of these pods."""
    listen: tuple[str, int] = ("0.0.0.0", 8080)  # noqa: S104 - probes come from the node
    log_format: Literal["text", "json"] = "json"
    resync_seconds: float = 300.0
    """Between two readings of everything, which heal what watches may have missed."""
    load_seconds: float = 15.0
    """Between two questions to the workers how busy they are."""


def parse(arguments: Sequence[str]) -> Settings:
    """Ends the process with a message on stderr when the arguments make no sense."""
    found = vars(_parser().parse_args(arguments))
    for who, default in LABELS.items():
        name = f"{who}_labels"
        found[name] = dict(found[name]) or default
    for name in ("namespaces", "cluster_networks"):
        found[name] = tuple(dict.fromkeys(found[name]))
    return Settings(**found)


def _pool_url(text: str) -> str:
    try:
        text.format(pool="p")
    except (KeyError, ValueError, IndexError):
        message = f"{text!r} may have {{pool}} in it, and no other braces"
        raise argparse.ArgumentTypeError(message) from None
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "anypod_operator", description="Keeps WorkerPools as they are wanted.", allow_abbrev=False
    )
    add = parser.add_argument
    add("--worker-image", required=True, metavar="IMAGE", help="of pools that name none")
    add(
        "--link-key-file",
        dest="link_key",
        type=_secret,
        required=True,
        metavar="FILE",
        help="holds the key that gateways have too, and that pools' link tokens come from",
    )
    add(
        "--namespace",
        dest="namespaces",
        action="append",
        default=[],
        metavar="NAME",
        help="serve only this one's pools; repeatable; none given: all",
    )
    add(
        "--home",
        default=os.environ.get("POD_NAMESPACE", "anypod"),
        metavar="NAME",
        help="the namespace of gateways and operator; else POD_NAMESPACE",
    )
    add("--dns-namespace", default="kube-system", metavar="NAME", help="of the DNS's pods")
    for who in LABELS:
        add(
            f"--{who}-label",
            dest=f"{who}_labels",
            action="append",
            type=_label,
            default=[],
            metavar="KEY=VALUE",
            help=f"by which the {who}'s pods are known; repeatable",
        )
    add(
        "--pool-url",
        type=_pool_url,
        default="",
        metavar="URL",
        help="where pools are called, with {pool} in it for what clients call one",
    )
    add(
        "--cluster-network",
        dest="cluster_networks",
        action="append",
        type=_network,
        default=[],
        metavar="CIDR",
        help="one of the cluster that is no private range, kept from programs; repeatable",
    )
    add("--listen", type=_address, default=("0.0.0.0", 8080), metavar="HOST:PORT")  # noqa: S104
    add("--log-format", choices=["text", "json"], default="json")
    add("--resync-seconds", type=_seconds, default=300.0, metavar="S")
    add("--load-seconds", type=_seconds, default=15.0, metavar="S")
    return parser


def _secret(path: str) -> str:
    try:
        text = Path(path).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as reason:
        raise argparse.ArgumentTypeError(f"no key: {reason}") from None
    if not text:
        raise argparse.ArgumentTypeError(f"{path} is empty")
    return text


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as wrong:
        raise argparse.ArgumentTypeError(str(wrong)) from None


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 86_400:
        raise ValueError(text)
    return value


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)
