"""How a release stands at a moment: its pool, and what runs of it, by one question to the cluster.

A kubectl for each pod, twice a second, would take more of the machine than what is tested.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from tests.cluster import Pod
from tests.cluster.waiting import wait_until
from tests.support.installed import MINUTES, Object, Release

POOL = "default"
GATEWAYS = 2
PATIENCE = MINUTES * 60
_COMPONENT = "app.kubernetes.io/component"

Pods = dict[str, Object]
"""By name."""


@dataclass(frozen=True)
class Standing:
    pool: Object
    pods: list[Object]

    def of(self, component: str) -> Pods:
        return {
            pod["metadata"]["name"]: pod
            for pod in self.pods
            if pod["metadata"].get("labels", {}).get(_COMPONENT) == component
        }

    @property
    def workers(self) -> Pods:
        return self.staying("worker")

    def staying(self, component: str) -> Pods:
        """None that is going."""
        found = self.of(component).items()
        return {name: pod for name, pod in found if "deletionTimestamp" not in pod["metadata"]}

    def ready(self, component: str = "worker") -> set[str]:
        """Of those that stay."""
        return {name for name, pod in self.staying(component).items() if is_ready(pod)}

    def condition(self, kind: str) -> Object:
        """As it is told of the present spec."""
        generation = self.pool["metadata"]["generation"]
        for each in self.pool["status"]["conditions"]:
            if each["type"] == kind and each["observedGeneration"] == generation:
                return dict(each)
        return {"status": "Unknown"}

    def is_true(self, kind: str) -> bool:
        return bool(self.condition(kind)["status"] == "True")

    def is_whole(self, replicas: int) -> bool:
        """As it is told to be, and nothing but that; and what serves it."""
        return (
            self.condition("Progressing")["status"] == "False"
            and len(self.workers) == len(self.ready()) == len(self.of("worker")) == replicas
            and len(self.ready("gateway")) == GATEWAYS
        )


def look(release: Release) -> Standing:
    found = release.get("workerpools,pods")["items"]
    (pool,) = (
        each for each in found if each["kind"] == "WorkerPool" and each["metadata"]["name"] == POOL
    )
    return Standing(pool, [each for each in found if each["kind"] == "Pod"])


def until(release: Release, holds: Callable[[Standing], bool], what: str) -> None:
    wait_until(lambda: holds(look(release)), what, PATIENCE)


def until_whole(release: Release, replicas: int) -> None:
    until(release, lambda now: now.is_whole(replicas), f"all {replicas} workers, both gateways")


def rolled_out(release: Release, deployment: str) -> None:
    done = ("rollout", "status", deployment, f"--timeout={MINUTES}m")
    release.kubectl(*done, timeout=PATIENCE + 30)


def patch(release: Release, spec: Object) -> None:
    """Of the pool."""
    change = json.dumps({"spec": spec})
    release.kubectl("patch", f"wp/{POOL}", "--type=merge", f"--patch={change}")


def kill(release: Release, component: str, name: str) -> None:
    """SIGKILL to its first process; when this returns, it is back in its pod and Ready."""
    before = restarts(look(release).of(component)[name])
    release.cluster.faults.kill_process(Pod(release.namespace, name))

    def is_back(now: Standing) -> bool:
        pod = now.of(component)[name]
        return restarts(pod) > before and is_ready(pod)

    until(release, is_back, f"{name} is back")


def is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def restarts(pod: Object) -> int:
    return sum(each["restartCount"] for each in pod["status"].get("containerStatuses", []))
