"""What is wrong with pods, in words that say what to do. Pure.

The kubelet and the scheduler say it in a dozen places; here it becomes one stable reason, and one
message with the text of whoever knows.
"""

import json
import signal
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from anypod.resources.names import WORKER_CONTAINER
from anypod_operator.kinds import Raw

_PULL = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
    }
)
_CREATE = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError"}
)
_NOT_CRASHED = frozenset({"", "ContainerCreating", "PodInitializing"})
_TEXT_LIMIT = 800
_OFTEN = 2
_GATES = "ReadinessGatesNotReady"
"""Why the kubelet itself says that a pod is not ready whose containers are."""


@dataclass(frozen=True)
class Trouble:
    reason: str
    message: str
    cure: str = ""

    def __str__(self) -> str:
        text = self.message.strip().removesuffix(".")
        return f"{text}. {self.cure}" if self.cure else f"{text}."


_CURES = {
    "NodeLost": "See kubectl get nodes.",
    "Unschedulable": "Add nodes, or lower requests and constraints in spec.template.",
    "ImagePullFailed": "Check spec.image and spec.imagePullSecrets.",
    "CannotStart": "Check spec.image, and what spec.env, spec.envFrom and spec.template refer to.",
    "PreloadFailed": "Correct spec.preload, or build an image that has the module.",
    "OutOfMemory": "Raise the memory limit in spec.template, or lower spec.limits.memory "
    "or spec.executors.",
    "WorkerCrashing": "See the worker's log: kubectl logs --previous.",
    "SidecarFailing": "Correct the container in spec.template.",
}
_ORDER = list(_CURES)


def troubles(pods: Iterable[Raw]) -> list[Trouble]:
    """One for each reason, the one that stands in the way first."""
    found: dict[str, list[str]] = defaultdict(list)
    for pod in pods:
        for reason, text in _of_pod(pod):
            found[reason].append(text)
    return [
        Trouble(reason, _several(found[reason]), _CURES[reason])
        for reason in _ORDER
        if reason in found
    ]


def _several(texts: list[str]) -> str:
    workers = "1 worker" if len(texts) == 1 else f"{len(texts)} workers"
    return f"{workers}: {texts[-1][:_TEXT_LIMIT]}"


def is_terminating(pod: Raw) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def is_ready(pod: Raw) -> bool:
    return not is_terminating(pod) and condition(pod, "Ready").get("status") == "True"


def is_over(pod: Raw) -> bool:
    """It has ended, and nothing runs in it again."""
    return pod.get("status", {}).get("phase") in ("Failed", "Succeeded")


def condition(raw: Raw, type_: str) -> dict[str, Any]:
    for one in raw.get("status", {}).get("conditions", []):
        if one["type"] == type_:
            return dict(one)
    return {}


def _of_pod(pod: Raw) -> Iterator[tuple[str, str]]:
    if is_ready(pod) or is_terminating(pod):
        return
    if is_over(pod):
        return  # the ReplicaSet has made another already
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        yield "Unschedulable", f"cannot be scheduled: {scheduled.get('message', '')}"
        return
    if _is_node_lost(pod):
        yield "NodeLost", f"node {pod.get('spec', {}).get('nodeName', '')} does not answer"
        return
    status = pod.get("status", {})
    found = [
        *(_of_container(each, may_end=True) for each in status.get("initContainerStatuses", [])),
        *(_of_container(each, may_end=False) for each in status.get("containerStatuses", [])),
    ]
    yield from [trouble for trouble in found if trouble is not None][:1]


def _is_node_lost(pod: Raw) -> bool:
    """Kubernetes takes away only Ready then, and leaves what the kubelet had said last."""
    ready = condition(pod, "Ready")
    return (
        ready.get("status") == "False"
        and ready.get("reason") != _GATES
        and condition(pod, "ContainersReady").get("status") == "True"
    )


def _of_container(status: dict[str, Any], *, may_end: bool) -> tuple[str, str] | None:
    """``may_end``: it is well when it has ended well."""
    waiting = status.get("state", {}).get("waiting") or {}
    reason, name = waiting.get("reason", ""), status["name"]
    if reason in _PULL:
        return (
            "ImagePullFailed",
            f"image {status.get('image', '')}: {waiting.get('message') or reason}",
        )
    if reason in _CREATE:
        return "CannotStart", f"container {name}: {waiting.get('message') or reason}"
    ended = status.get("state", {}).get("terminated") or status.get("lastState", {}).get(
        "terminated"
    )
    if ended and (ended.get("exitCode") != 0 or (not may_end and _ends_often(status))):
        return _of_end(name, ended)
    if reason in _NOT_CRASHED:
        return None
    return _named(name), f"container {name}: {reason}"


def _ends_often(status: dict[str, Any]) -> bool:
    """It ends well, and again: the wrong image, or a sidecar that should be a job."""
    return int(status.get("restartCount", 0)) >= _OFTEN


def _of_end(name: str, ended: dict[str, Any]) -> tuple[str, str]:
    killer, last = _signal(ended), last_line(ended.get("message", ""))
    how = f"ended with exit code {ended.get('exitCode')}" + (f": {last}" if last else "")
    if killer:  # what it logged last has nothing to do with that
        how = f"was killed by {killer}"
    if ended.get("reason") == "OOMKilled":
        return "OutOfMemory", f"container {name} took more memory than its limit"
    if name != WORKER_CONTAINER:
        return _named(name), f"container {name} {how}"
    if last.startswith("preload ") and not killer:
        return "PreloadFailed", last
    return _named(name), how


def _named(container: str) -> str:
    return "WorkerCrashing" if container == WORKER_CONTAINER else "SidecarFailing"


def _signal(ended: dict[str, Any]) -> str:
    """That ended it, as runtimes say it: by itself, or added to 128."""
    number = ended.get("signal") or int(ended.get("exitCode", 0)) - 128
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


def last_line(text: str) -> str:
    """Of a log, as a person would quote it: of a JSON line, its message."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    try:
        document = json.loads(lines[-1])
        return str(document["message"])
    except (ValueError, TypeError, KeyError):
        return lines[-1]


def refusal(deployment: Raw | None) -> Trouble | None:
    """Why pods cannot even be made: a quota, or an admission rule."""
    found = {} if deployment is None else condition(deployment, "ReplicaFailure")
    if found.get("status") != "True":
        return None
    return Trouble(
        "PodsRefused",
        f"pods are refused: {found.get('message', '')[:_TEXT_LIMIT]}",
        "Correct spec.template, or the namespace's quota or policy.",
    )
