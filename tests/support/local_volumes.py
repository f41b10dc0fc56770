"""Volumes on a cluster's nodes for claims, where nothing provides any.

They are folders of the nodes, bound when the first pod wants them, as those of clouds are. They are
below the kubelet's own: a node may share others with its machine, and so with its neighbours.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.cluster import Cluster, images

CLASS = "e2e-local"
_NAMESPACE = "e2e-volumes"
_FOLDER = "/var/lib/kubelet/anypod-e2e"

Object = dict[str, Any]


@contextmanager
def local_volumes(cluster: Cluster, each: int) -> Iterator[str]:
    """So many on each node, empty; the name of their class."""
    nodes = cluster.nodes()
    folders = [(node, f"{_FOLDER}/{number}") for node in nodes for number in range(each)]
    volumes = [_volume(node, folder) for node, folder in folders]
    _remove(cluster)
    cluster.kubectl("create", "namespace", _NAMESPACE)
    try:
        names = " ".join(f"{_FOLDER}/{number}" for number in range(each))
        _on_each(cluster, f"rm -rf {names} && mkdir -m 0777 -p {names}")
        _apply(cluster, [_storage_class(), *volumes])
        yield CLASS
    finally:
        _on_each(cluster, f"rm -rf {_FOLDER}/*")
        _remove(cluster)


def _storage_class() -> Object:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS, "labels": {"e2e": CLASS}},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def _volume(node: str, folder: str) -> Object:
    term = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"e2e-{node}-{folder.rpartition('/')[2]}", "labels": {"e2e": CLASS}},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
            "local": {"path": folder},
            "nodeAffinity": {
                "required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]},
            },
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": CLASS,
        },
    }


def _on_each(cluster: Cluster, command: str) -> None:
    """As root on every node, with the folder as it is there."""
    nodes = cluster.nodes()
    _apply(cluster, [_root_pod(node, command) for node in nodes])
    for node in nodes:
        done = ("--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s")
        cluster.kubectl(f"-n{_NAMESPACE}", "wait", *done, f"pod/{node}", timeout=150)
    cluster.kubectl(f"-n{_NAMESPACE}", "delete", "pods", "--all", "--timeout=120s", timeout=150)


def _root_pod(node: str, command: str) -> Object:
    container = {
        "name": "root",
        "image": images.ETCD,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", command],
        "securityContext": {"runAsUser": 0},
        "volumeMounts": [{"name": "folder", "mountPath": _FOLDER}],
    }
    folder = {"path": _FOLDER, "type": "DirectoryOrCreate"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": node, "namespace": _NAMESPACE},
        "spec": {
            "nodeName": node,
            "restartPolicy": "Never",
            "tolerations": [{"operator": "Exists"}],
            "containers": [container],
            "volumes": [{"name": "folder", "hostPath": folder}],
        },
    }


def _apply(cluster: Cluster, objects: list[Object]) -> None:
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    cluster.kubectl("apply", "-f", "-", input=listed)


def _remove(cluster: Cluster) -> None:
    chosen = (f"--selector=e2e={CLASS}", "--timeout=120s")
    cluster.kubectl("delete", "persistentvolumes,storageclasses", *chosen, timeout=150)
    gone = ("--ignore-not-found", "--timeout=120s")
    cluster.kubectl("delete", "namespace", _NAMESPACE, *gone, timeout=150)
