"""Who reaches workers, and what workers reach.

In: gateways, for their links; the operator, for how busy workers are. Kubelets' probes are let
through by every network plugin. Out: what the pool says. Policies only ever allow; what none allows
is refused.
"""

import ipaddress

from anypod.resources import names
from anypod.resources.surroundings import Peer, Selector
from anypod_operator.kinds import NETWORK_POLICY, Raw
from anypod_operator.objects.metadata import head
from anypod_operator.pools import Pool
from anypod_operator.settings import Settings

NOT_PUBLIC_4 = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
"""IANA's special-purpose registry, metadata addresses among it, and multicast; and what in Azure
is the host of each virtual machine, which is a public address, and no public service."""

PUBLIC_6 = "2000::/3"
"""All global unicast there is."""

NOT_PUBLIC_6 = ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
"""Of that: Teredo and its kin, documentation, and 6to4, which leads into IPv4."""

_DNS_PORTS: list[Raw] = [
    {"port": 53, "protocol": "UDP"},
    {"port": 53, "protocol": "TCP"},
    {"port": "dns", "protocol": "UDP"},
    {"port": "dns-tcp", "protocol": "TCP"},
]
"""Policies see the pod's port, which need not be that of its Service; but a pod names its ports."""
_NAMESPACE_NAME = "kubernetes.io/metadata.name"


def network_policy(pool: Pool, settings: Settings) -> Raw:
    return {
        **head(pool, NETWORK_POLICY, names.workers(pool.name)),
        "spec": {
            "podSelector": {"matchLabels": names.worker_selector(pool.name)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [_callers(settings)],
            "egress": [*_egress(pool, settings), *map(_peer, pool.spec.network.peers)],
        },
    }


def _callers(settings: Settings) -> Raw:
    return {
        "from": [
            {
                "namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: settings.home}},
                "podSelector": {"matchLabels": labels},
            }
            for labels in (settings.gateway_labels, settings.operator_labels)
        ],
        "ports": [{"port": names.WORKER_PORT, "protocol": "TCP"}],
    }


def _egress(pool: Pool, settings: Settings) -> list[Raw]:
    match pool.spec.network.egress:
        case "none":
            return []
        case "all":
            return [{}]
        case "internet":
            return [_cluster_dns(settings), _internet(settings)]


def _cluster_dns(settings: Settings) -> Raw:
    peer = {
        "namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: settings.dns_namespace}},
        "podSelector": {"matchLabels": settings.dns_labels},
    }
    return {"to": [peer], "ports": _DNS_PORTS}


def _internet(settings: Settings) -> Raw:
    networks = [ipaddress.ip_network(one) for one in settings.cluster_networks]
    more_4 = [str(one) for one in networks if one.version == 4]
    more_6 = [
        str(one)
        for one in networks
        if isinstance(one, ipaddress.IPv6Network) and one.subnet_of(ipaddress.IPv6Network(PUBLIC_6))
    ]
    return {
        "to": [
            {"ipBlock": {"cidr": "0.0.0.0/0", "except": [*NOT_PUBLIC_4, *more_4]}},
            {"ipBlock": {"cidr": PUBLIC_6, "except": [*NOT_PUBLIC_6, *more_6]}},
        ]
    }


def _peer(peer: Peer) -> Raw:
    to: Raw = {}
    if peer.cidr is not None:
        to["ipBlock"] = {"cidr": peer.cidr}
    if peer.namespace_selector is not None:
        to["namespaceSelector"] = _selector(peer.namespace_selector)
    if peer.pod_selector is not None:
        to["podSelector"] = _selector(peer.pod_selector)
    rule: Raw = {"to": [to]}
    if peer.ports:
        rule["ports"] = [port.model_dump(by_alias=True, exclude_none=True) for port in peer.ports]
    return rule


def _selector(selector: Selector) -> Raw:
    return selector.model_dump(by_alias=True, exclude_defaults=True)
