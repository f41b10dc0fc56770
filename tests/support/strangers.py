"""Pods that belong to nobody: what they see of a release is what anybody in the cluster sees."""

import json

from tests.cluster import images
from tests.cluster.waiting import wait_until
from tests.support.installed import Object, Release

PATIENCE = 300.0
ENDED = {"Succeeded", "Failed"}


def in_a_pod(release: Release, name: str, script: str, **env: str) -> str:
    """What a script prints in a pod that belongs to nobody."""
    release.kubectl("apply", "-f", "-", input=json.dumps(stranger(name, script, **env)))
    try:
        wait_until(lambda: _phase(release, name) in ENDED, f"pod {name} has ended", PATIENCE)
        told = release.kubectl("logs", name)
        assert _phase(release, name) == "Succeeded", told
        return told
    finally:
        release.kubectl("delete", "pod", name, "--wait=false")


def _phase(release: Release, pod: str) -> str:
    return str(release.get(f"pod/{pod}")["status"]["phase"])


def stranger(name: str, script: str, *, node: str = "", **env: str) -> Object:
    """``node``: on which it has to be."""
    container = {
        "name": "python",
        "image": images.ANYPOD,
        "imagePullPolicy": "Never",
        "command": ["python", "-P", "-u", "-c", script],
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        **({"nodeSelector": {"kubernetes.io/hostname": node}} if node else {}),
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
