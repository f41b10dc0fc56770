"""A namespace with pools in it, and what a test does to them and their pods by the real API."""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from tests.support.kubernetes_api import ApiFailure, KubernetesApi, Raw

from anypod.resources.crd import definition

Found = TypeVar("Found")

PATIENCE = 60.0
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
RBAC = "rbac.authorization.k8s.io"
_numbers = itertools.count(1)

_ALL = ["get", "list", "watch", "create", "patch"]
RULES = [
    {"apiGroups": ["anypod.dev"], "resources": ["workerpools"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["anypod.dev"], "resources": ["workerpools/status"], "verbs": ["patch"]},
    {"apiGroups": ["anypod.dev"], "resources": ["workerpools/finalizers"], "verbs": ["update"]},
    {"apiGroups": [""], "resources": ["secrets", "serviceaccounts", "services"], "verbs": _ALL},
    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": _ALL},
    {"apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": _ALL},
    {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": _ALL},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch", "patch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["get", "create", "patch"]},
]
"""All that the operator may do: what these tests need is what docs/operator.md says."""

CHILDREN = {
    "Secret": "/api/v1/namespaces/{}/secrets/{}-link",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts/{}-workers",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies/{}-workers",
    "Service": "/api/v1/namespaces/{}/services/{}-workers",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets/{}-workers",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments/{}-workers",
}


def until(
    found: Callable[[], Found | None],
    what: str | Callable[[], str],
    seconds: float = PATIENCE,
) -> Found:
    """What it finds, when that is something. The deadline is generous: it is never the test."""
    end = time.monotonic() + seconds
    while True:
        value = found()
        if value:
            return value
        if time.monotonic() > end:
            why = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {seconds:g} s: {why}")
        time.sleep(0.05)


def install_crd(api: KubernetesApi) -> None:
    api.apply(f"{CRDS}/workerpools.anypod.dev", definition())
    until(lambda: api.get("/apis/anypod.dev/v1alpha1") is not None, "the CRD is served")


def grant(api: KubernetesApi, namespaces: tuple[str, ...] = ()) -> None:
    """To the user ``operator``, everywhere or in some namespaces, and nothing else."""
    subject = {"kind": "User", "name": "operator", "apiGroup": RBAC}
    scope = "" if namespaces else "Cluster"
    for namespace in namespaces or ("",):
        within = f"/apis/{RBAC}/v1" + (f"/namespaces/{namespace}" if namespace else "")
        head: Raw = {"apiVersion": f"{RBAC}/v1", "metadata": {"name": "operator"}}
        role = {**head, "kind": f"{scope}Role", "rules": RULES}
        reference = {"apiGroup": RBAC, "kind": f"{scope}Role", "name": "operator"}
        binding = {
            **head,
            "kind": f"{scope}RoleBinding",
            "roleRef": reference,
            "subjects": [subject],
        }
        api.apply(f"{within}/{scope.lower()}roles/operator", role)
        api.apply(f"{within}/{scope.lower()}rolebindings/operator", binding)


def revoke(api: KubernetesApi) -> None:
    api.delete(f"/apis/{RBAC}/v1/clusterrolebindings/operator")


@dataclass(frozen=True)
class Namespace:
    api: KubernetesApi
    name: str

    def pool_path(self, pool: str) -> str:
        return f"/apis/anypod.dev/v1alpha1/namespaces/{self.name}/workerpools/{pool}"

    def apply(self, pool: str = "pool", **spec: Any) -> Raw:
        body = {
            "apiVersion": "anypod.dev/v1alpha1",
            "kind": "WorkerPool",
            "metadata": {"name": pool},
            "spec": spec,
        }
        return self.api.apply(self.pool_path(pool), body)

    def pool(self, pool: str = "pool") -> Raw:
        return self.api.call("GET", self.pool_path(pool))

    def delete_pool(self, pool: str = "pool") -> None:
        self.api.delete(self.pool_path(pool))

    def condition(self, type_: str, pool: str = "pool") -> Raw:
        """Of the present generation; empty when there is none yet."""
        found = self.pool(pool)
        for one in found.get("status", {}).get("conditions", []):
            if (
                one["type"] == type_
                and one["observedGeneration"] == found["metadata"]["generation"]
            ):
                return dict(one)
        return {}

    def until_condition(self, type_: str, status: str, reason: str = "", pool: str = "pool") -> Raw:
        def holds() -> Raw | None:
            found = self.condition(type_, pool)
            fits = found.get("status") == status and reason in ("", found.get("reason"))
            return found if fits else None

        return until(holds, f"{type_} is {status} {reason}")

    def child(self, kind: str, pool: str = "pool") -> Raw | None:
        """None when it is not there, or is being deleted."""
        found = self.api.get(CHILDREN[kind].format(self.name, pool))
        return None if found is None or "deletionTimestamp" in found["metadata"] else found

    def child_path(self, kind: str, pool: str = "pool") -> str:
        return CHILDREN[kind].format(self.name, pool)

    def until_children(self, pool: str = "pool") -> dict[str, Raw]:
        def all_there() -> dict[str, Raw] | None:
            found = {kind: self.child(kind, pool) for kind in CHILDREN}
            there = {kind: child for kind, child in found.items() if child is not None}
            return there if len(there) == len(CHILDREN) else None

        return until(all_there, "all children are there")

    def until_gone(self, pool: str = "pool") -> None:
        paths = [self.pool_path(pool), *(self.child_path(kind, pool) for kind in CHILDREN)]
        until(lambda: all(self.api.get(p) is None for p in paths), "pool and children are gone")

    def pods(self, pool: str = "pool") -> list[Raw]:
        selector = f"anypod.dev%2Fpool%3D{pool}"
        path = f"/api/v1/namespaces/{self.name}/pods?labelSelector={selector}"
        pods: list[Raw] = self.api.call("GET", path)["items"]
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def until_pods(self, count: int, pool: str = "pool") -> list[Raw]:
        def enough() -> list[Raw] | None:
            pods = self.pods(pool)
            return pods if len(pods) == count else None

        return until(enough, f"{count} pods") if count else self.pods(pool)

    def set_pod(self, pod: Raw, status: Raw) -> None:
        path = f"/api/v1/namespaces/{self.name}/pods/{pod['metadata']['name']}/status"
        with contextlib.suppress(ApiFailure):  # the controllers may have taken it meanwhile
            self.api.merge(path, {"status": status})

    def make_ready(self, pods: list[Raw], addresses: list[str] | None = None) -> None:
        """As kubelets would."""
        for number, pod in enumerate(pods):
            address = addresses[number] if addresses else f"198.18.0.{number + 1}"
            self.set_pod(pod, ready_status(address))

    def keep_ready(self, pool: str = "pool") -> None:
        """Once: all pods that are not ready become so."""
        self.make_ready([pod for pod in self.pods(pool) if not is_ready(pod)])

    def until_ready(self, pool: str = "pool") -> Raw:
        """Ready and complete, with kubelets that make every pod ready."""

        def done() -> Raw | None:
            self.keep_ready(pool)
            ready = self.condition("Ready", pool).get("status") == "True"
            complete = self.condition("Progressing", pool).get("reason") == "Complete"
            return self.pool(pool) if ready and complete else None

        return until(done, "the pool is ready and complete")

    def events(self, reason: str) -> list[Raw]:
        path = f"/api/v1/namespaces/{self.name}/events?fieldSelector=reason%3D{reason}"
        items: list[Raw] = self.api.call("GET", path)["items"]
        return [one for one in items if one["involvedObject"]["kind"] == "WorkerPool"]


def is_ready(pod: Raw) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ready_status(address: str) -> Raw:
    when = now()
    types = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [{"type": t, "status": "True", "lastTransitionTime": when} for t in types],
        "containerStatuses": [container(ready=True, state={"running": {"startedAt": when}})],
    }


def container(*, ready: bool = False, **more: Any) -> Raw:
    return {
        "name": "worker",
        "image": "registry.example/anypod-worker:test",
        "imageID": "",
        "ready": ready,
        "restartCount": 0,
        **more,
    }


@contextmanager
def namespace(api: KubernetesApi, labels: dict[str, str] | None = None) -> Iterator[Namespace]:
    """A fresh one, deleted at the end."""
    name = f"test-{next(_numbers)}"
    metadata = {"name": name, "labels": labels or {}}
    api.call("POST", "/api/v1/namespaces", {"metadata": metadata})
    try:
        yield Namespace(api, name)
    finally:
        api.delete(f"/api/v1/namespaces/{name}")
