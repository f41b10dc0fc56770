"""What went on in a namespace of a cluster: its events, and every container's log."""

import json

from tests.cluster import Cluster, KubectlError

LINES = 200


def told(cluster: Cluster, namespace: str) -> list[tuple[str, str]]:
    """Titles and texts, for a test's report. Never raises: the report is of another failure."""
    within = f"--namespace={namespace}"
    found = [
        (f"objects of {namespace}", _said(cluster, within, "get", "wp,deploy,pods,svc", "-owide")),
        (f"events of {namespace}", _said(cluster, within, "events")),
    ]
    for pod, container in _containers(cluster, within):
        for when in ("", "--previous"):
            arguments = ("logs", pod, f"-c{container}", f"--tail={LINES}", *filter(None, [when]))
            text = _said(cluster, within, *arguments)
            if not when or "previous terminated container" not in text:
                found.append((f"log of {pod}/{container} {when}".strip(), text))
    return found


def _containers(cluster: Cluster, within: str) -> list[tuple[str, str]]:
    try:
        pods = json.loads(cluster.kubectl(within, "get", "pods", "-ojson"))["items"]
    except (KubectlError, ValueError):
        return []
    return [(p["metadata"]["name"], c["name"]) for p in pods for c in p["spec"]["containers"]]


def _said(cluster: Cluster, *arguments: str) -> str:
    try:
        return cluster.kubectl(*arguments, timeout=20)
    except KubectlError as error:
        return str(error)
