"""The cluster's DNS: CoreDNS as a pod behind the service kube-dns, as in every real cluster.

As it is a pod with the usual label, a network policy that lets DNS through means the same here.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.addresses import DOMAIN

_NAME = "coredns"
_NAMESPACE = "kube-system"
_LABELS = {"k8s-app": "kube-dns"}
# Above 1024: the image's user is nobody in particular.
_PORT = 1053
_READY = 8181
_COREFILE = f"""\
.:{_PORT} {{
    errors
    ready :{_READY}
    kubernetes {DOMAIN} in-addr.arpa ip6.arpa {{
        pods insecure
        ttl 5
    }}
    cache 5
}}
"""


def manifest(image: str, program: Path, service: str, node: str) -> str:
    """All of it, for ``kubectl apply``; the pod runs on ``node``.

    ``program`` is the node's own: to mount it costs nothing, to load it as an image takes seconds.
    """
    objects = [
        _object("v1", "ServiceAccount"),
        _object("v1", "ConfigMap", data={"Corefile": _COREFILE}),
        *_role(),
        _deployment(image, program, node),
        _service(service),
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def _object(version: str, kind: str, name: str = _NAME, **content: object) -> Mapping[str, object]:
    metadata = {"name": name, "namespace": _NAMESPACE, "labels": _LABELS}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}


def _role() -> list[Mapping[str, object]]:
    group = "rbac.authorization.k8s.io"
    reads = ["list", "watch"]
    rules = [
        {"apiGroups": [""], "resources": ["services", "namespaces", "pods"], "verbs": reads},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": reads},
    ]
    account = {"kind": "ServiceAccount", "name": _NAME, "namespace": _NAMESPACE}
    role = {"apiGroup": group, "kind": "ClusterRole", "name": _NAME}
    return [
        _object(f"{group}/v1", "ClusterRole", rules=rules),
        _object(f"{group}/v1", "ClusterRoleBinding", roleRef=role, subjects=[account]),
    ]


def _deployment(image: str, program: Path, node: str) -> Mapping[str, object]:
    container = {
        "name": _NAME,
        "image": image,
        "command": [f"/node/{program.name}", "-conf", "/etc/coredns/Corefile"],
        "ports": [
            {"name": "dns", "containerPort": _PORT, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": _PORT, "protocol": "TCP"},
        ],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": _READY}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/coredns"},
            {"name": "program", "mountPath": "/node", "readOnly": True},
        ],
    }
    pod = {
        "serviceAccountName": _NAME,
        "priorityClassName": "system-cluster-critical",
        # Beside the control plane, so that the loss of another node does not take it along.
        "nodeName": node,
        "tolerations": [{"operator": "Exists"}],
        "containers": [container],
        "volumes": [
            {"name": "config", "configMap": {"name": _NAME}},
            {"name": "program", "hostPath": {"path": str(program.parent), "type": "Directory"}},
        ],
    }
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": _LABELS},
        "template": {"metadata": {"labels": _LABELS}, "spec": pod},
    }
    return _object("apps/v1", "Deployment", spec=spec)


def _service(address: str) -> Mapping[str, object]:
    ports = [
        {"name": "dns", "port": 53, "targetPort": _PORT, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "targetPort": _PORT, "protocol": "TCP"},
    ]
    spec = {"clusterIP": address, "selector": _LABELS, "ports": ports}
    return _object("v1", "Service", name="kube-dns", spec=spec)
