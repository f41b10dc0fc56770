"""Pods that belong to nobody: what they see of a release is what anybody in the cluster sees."""

import json

from tests.cluster import images
from tests.support.installed import Object, Release

PATIENCE = 300


def in_a_pod(release: Release, name: str, script: str, **env: str) -> str:
    """What a script prints in a pod that belongs to nobody."""
    pod = stranger(name, script, **env)
    release.kubectl("apply", "-f", "-", input=json.dumps(pod))
    try:
        phase = "jsonpath={.status.phase}=Succeeded"
        release.kubectl(
            "wait", f"--for={phase}", f"pod/{name}", f"--timeout={PATIENCE}s", timeout=330
        )
        return release.kubectl("logs", name)
    finally:
        release.kubectl("delete", "pod", name, "--wait=false")


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
