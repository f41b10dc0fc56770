"""What a bare node's programs are told: pure functions from a node's place to its configuration."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.addresses import DOMAIN, Addresses
from tests.cluster.certificates import Authority

RUNTIME = "/run/containerd/containerd.sock"
_PLUGINS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))


@dataclass(frozen=True)
class Place:
    """Where a node is, and which files it is to use."""

    plan: Addresses
    number: int
    folder: Path
    authority: Authority

    @property
    def name(self) -> str:
        return f"n{self.number}"

    @property
    def address(self) -> str:
        return self.plan.node(self.number)


def image_root(place: Place) -> Path:
    """Where containerd keeps images, and what containers write."""
    return place.folder / "containerd"


def files(place: Place, sandbox_image: str) -> Mapping[str, str]:
    """Every file of a node, by its name in the node's folder."""
    return {
        "containerd.toml": containerd(place, sandbox_image),
        "cni/10-pods.conflist": json.dumps(pod_network(place)),
        "kubelet.json": json.dumps(kubelet(place)),
        "kube-proxy.json": json.dumps(kube_proxy(place)),
    }


def programs(place: Place) -> Mapping[str, Sequence[str]]:
    """What runs on every node."""
    return {
        "containerd": ["containerd", f"--config={place.folder}/containerd.toml"],
        "kubelet": [
            "kubelet",
            f"--config={place.folder}/kubelet.json",
            f"--kubeconfig={place.authority.kubeconfig_of(place.name)}",
            f"--hostname-override={place.name}",
            f"--node-ip={place.address}",
        ],
        "kube-proxy": ["kube-proxy", f"--config={place.folder}/kube-proxy.json"],
        # For network policies alone.
        "kube-router": [
            "kube-router",
            f"--kubeconfig={place.authority.kubeconfig_of('admin')}",
            "--run-firewall=true",
            "--run-router=false",
            "--run-service-proxy=false",
            f"--hostname-override={place.name}",
            f"--service-cluster-ip-range={place.plan.services}",
        ],
    }


def containerd(place: Place, sandbox_image: str) -> str:
    """Pods' processes may not be made less killable than containerd, which a container's root
    lacks the capability for."""
    return textwrap.dedent(f"""\
        version = 2
        root = "{image_root(place)}"
        state = "/run/containerd"
        [grpc]
          address = "{RUNTIME}"
        [plugins."io.containerd.grpc.v1.cri"]
          sandbox_image = "{sandbox_image}"
          restrict_oom_score_adj = true
          [plugins."io.containerd.grpc.v1.cri".cni]
            bin_dir = "{_plugins()}"
            conf_dir = "{place.folder}/cni"
        """)


def pod_network(place: Place) -> dict[str, object]:
    addresses = {
        "type": "host-local",
        # A reboot forgets who had which address, as it ends them all.
        "dataDir": "/run/pod-addresses",
        "ranges": [[{"subnet": place.plan.pods_of(place.number)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "hairpinMode": True,
        "ipMasq": False,
        "ipam": addresses,
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, ports]}


def kubelet(place: Place) -> dict[str, object]:
    serving = place.authority.issued(place.name)
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": place.address,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(place.authority.certificate)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(serving.certificate),
        "tlsPrivateKeyFile": str(serving.key),
        "containerRuntimeEndpoint": f"unix://{RUNTIME}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{place.plan.namespace(place.number)}",
        "failCgroupV1": False,
        "failSwapOn": False,
        # Less takes a capability that a container's root lacks.
        "oomScoreAdj": 0,
        "clusterDNS": [place.plan.dns_service],
        "clusterDomain": DOMAIN,
        "resolvConf": "",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        # Sooner than the defaults, as tests wait for it.
        "syncFrequency": "5s",
        "nodeStatusUpdateFrequency": "4s",
        # The disk is this machine's: how full it is, no node can mend.
        "evictionHard": {"memory.available": "100Mi"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "maxPods": 200,
    }


def kube_proxy(place: Place) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(place.authority.kubeconfig_of("kube-proxy"))},
        "clusterCIDR": place.plan.pods,
        "hostnameOverride": place.name,
        # Connection tracking's limits are the whole machine's: kube-proxy is to leave them alone.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }


def _plugins() -> Path:
    """Where this machine has its CNI plugins; each distribution has its own place."""
    return next((folder for folder in _PLUGINS if (folder / "bridge").exists()), _PLUGINS[0])
