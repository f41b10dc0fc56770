"""Volumes on a cluster's nodes for claims, where nothing provides any.

They are folders of the nodes, bound when the first pod wants them, as those of clouds are. They are
below the kubelet's own: a node may share others with its machine, and so with its neighbours.
"""

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.cluster import Cluster, images

_FOLDER = "/var/lib/kubelet/anypod-e2e"

Object = dict[str, Any]


@contextmanager
def local_volumes(cluster: Cluster, each: int, stay: Callable[[], bool]) -> Iterator[str]:
    """So many on each node, empty; the name of their class, which nobody else uses.

    At the end they go, unless they are to ``stay``.
    """
    volumes = Volumes(cluster, f"e2e-volumes-{secrets.token_hex(3)}")
    cluster.kubectl("create", "namespace", volumes.name)
    try:
        volumes.make(each)
        yield volumes.name
    finally:
        if not stay():
            volumes.remove()


@dataclass(frozen=True)
class Volumes:
    """``name``: of their class, of the namespace from which nodes are reached, of a folder."""

    cluster: Cluster
    name: str

    def make(self, each: int) -> None:
        folders = [f"{_FOLDER}/{self.name}/{number}" for number in range(each)]
        self._on_nodes(f"mkdir -m 0777 -p {' '.join(folders)}")
        nodes = self.cluster.nodes()
        volumes = [self._volume(node, folder) for node in nodes for folder in folders]
        _apply(self.cluster, [self._storage_class(), *volumes])

    def remove(self) -> None:
        self._on_nodes(f"rm -rf {_FOLDER}/{self.name}")
        chosen = (f"--selector=e2e={self.name}", "--timeout=300s")
        kinds = "persistentvolumes,storageclasses"
        self.cluster.kubectl("delete", kinds, *chosen, timeout=330)
        self.cluster.kubectl("delete", "namespace", self.name, "--timeout=120s", timeout=150)

    def _storage_class(self) -> Object:
        return {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": self.name, "labels": {"e2e": self.name}},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        }

    def _volume(self, node: str, folder: str) -> Object:
        term = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
        name = f"{self.name}-{node}-{folder.rpartition('/')[2]}"
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name, "labels": {"e2e": self.name}},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": "1Gi"},
                "local": {"path": folder},
                "nodeAffinity": {
                    "required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]},
                },
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": self.name,
            },
        }

    def _on_nodes(self, command: str) -> None:
        """As root on every node, with the folder as it is there."""
        kubectl, nodes = self.cluster.kubectl, self.cluster.nodes()
        within = f"--namespace={self.name}"
        _apply(self.cluster, [_root_pod(self.name, node, command) for node in nodes])
        for node in nodes:
            done = ("--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s")
            kubectl(within, "wait", *done, f"pod/{node}", timeout=150)
        kubectl(within, "delete", "pods", "--all", "--timeout=120s", timeout=150)


def _root_pod(namespace: str, node: str, command: str) -> Object:
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
        "metadata": {"name": node, "namespace": namespace},
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
