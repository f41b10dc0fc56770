"""Pods that belong to nobody: what they see of a release is what anybody in the cluster sees."""

import json
import time
from contextlib import suppress

from tests.cluster import images
from tests.cluster.kubectl import KubectlError
from tests.support.installed import Object, Release

PATIENCE = 300.0
ENDED = {"Succeeded", "Failed"}


def in_a_pod(
    release: Release, name: str, script: str, *, patience: float = PATIENCE, **env: str
) -> str:
    """What a script prints in a pod that belongs to nobody; ``patience``: seconds for it to end."""
    release.kubectl("apply", "-f", "-", input=json.dumps(stranger(release, name, script, **env)))
    try:
        return _output(release, name, patience)
    finally:
        release.kubectl("delete", "pod", name, "--wait=false")


def start(release: Release, name: str, script: str, *, node: str = "", **env: str) -> None:
    """It runs when this returns."""
    pod = stranger(release, name, script, node=node, **env)
    release.kubectl("apply", "-f", "-", input=json.dumps(pod))
    release.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=120s", timeout=150)


def end_of(release: Release, name: str) -> list[str]:
    """It is told to end, and ends by itself; the lines that it has printed."""
    release.kubectl("exec", name, "--", "python", "-P", "-c", "import os; os.kill(1, 15)")
    return _output(release, name, PATIENCE).splitlines()


def _output(release: Release, name: str, patience: float) -> str:
    """All of it, when it has ended."""
    until = time.monotonic() + patience
    done = ("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", "--timeout=5s")
    while (phase := _phase(release, name)) not in ENDED:
        assert time.monotonic() < until, f"{name} goes on after {patience:g} s"
        with suppress(KubectlError):  # it may fail, too
            release.kubectl(*done, timeout=30)
    told = release.kubectl("logs", name)
    assert phase == "Succeeded", told
    return told


def _phase(release: Release, pod: str) -> str:
    return str(release.get(f"pod/{pod}")["status"]["phase"])


def stranger(release: Release, name: str, script: str, *, node: str = "", **env: str) -> Object:
    """``node``: on which it has to be."""
    images_there = release.cluster.images
    container = {
        "name": "python",
        "image": images_there.of(images.ANYPOD),
        "imagePullPolicy": images_there.pull_policy,
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
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": spec,
    }
