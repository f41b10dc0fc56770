"""Pods of the probe program (tests/cluster/programs/probe), to look at a cluster with."""

import json
from dataclasses import dataclass

from tests.cluster import Cluster, KubectlError, Pod
from tests.cluster.own_images import PROBE

NAMESPACE = "default"
PORT = 8080


@dataclass
class Probes:
    cluster: Cluster

    def start(self, name: str, node: str) -> Pod:
        """A pod of that name on that node, and a service of its name before it; Ready."""
        container = {
            "name": "probe",
            "image": self.cluster.images.of(PROBE.image),
            "imagePullPolicy": self.cluster.images.pull_policy,
            "readinessProbe": {"httpGet": {"path": "/", "port": PORT}, "periodSeconds": 1},
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"probe": name}},
            "spec": {
                "nodeName": node,
                "terminationGracePeriodSeconds": 0,
                "tolerations": [{"operator": "Exists"}],
                "containers": [container],
            },
        }
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": {"probe": name}, "ports": [{"port": 80, "targetPort": PORT}]},
        }
        objects = {"apiVersion": "v1", "kind": "List", "items": [pod, service]}
        self.cluster.kubectl(
            "apply", f"--namespace={NAMESPACE}", "-f", "-", input=json.dumps(objects)
        )
        self.wait_until_ready(name)
        return Pod(NAMESPACE, name)

    def wait_until_ready(self, name: str) -> None:
        what = ("--for=condition=Ready", f"pod/{name}", f"--namespace={NAMESPACE}")
        self.cluster.kubectl("wait", *what, "--timeout=120s", timeout=130)

    def url(self, name: str) -> str:
        """Of the pod itself."""
        address = self.cluster.kubectl(
            *("get", f"pod/{name}", f"--namespace={NAMESPACE}"), "--output=jsonpath={.status.podIP}"
        )
        return f"http://{address}:{PORT}/"

    def fetch(self, by: str, url: str, seconds: float = 10) -> str:
        """What the pod ``by`` is answered; raises KubectlError if it is not."""
        call = ("--", "/program", "fetch", url, f"{seconds:g}")
        return self.cluster.kubectl("exec", by, f"--namespace={NAMESPACE}", *call)

    def answers(self, by: str, url: str, seconds: float = 2) -> bool:
        try:
            self.fetch(by, url, seconds)
        except KubectlError:
            return False
        return True
