"""A pool's status says what is, what is wrong, and what to do; by real Deployments and pods whose
kubelet is the test."""

from typing import Any

import pytest
from tests.support.kubernetes_api import Raw
from tests.support.operated import Namespace, container, namespace, now, until
from tests.support.operator_process import OperatorProcess

pytestmark = pytest.mark.usefixtures("operator")


def test_a_pool_becomes_ready(space: Namespace) -> None:
    space.apply(replicas=3)
    pods = space.until_pods(3)
    space.make_ready(pods[:2])
    space.until_condition("Ready", "False", "SomeServe")
    until(
        lambda: space.condition("Ready").get("message", "").startswith("2 of 3 workers serve"),
        "it says how many",
    )
    space.until_condition("Progressing", "True", "WorkersChange")
    status = space.until_ready()["status"]
    assert (status["replicas"], status["readyReplicas"], status["updatedReplicas"]) == (3, 3, 3)
    assert status["selector"] == "anypod.dev/pool=pool,app.kubernetes.io/component=worker"
    scale = space.api.call("GET", f"{space.pool_path('pool')}/scale")["status"]
    assert scale == {"replicas": 3, "selector": status["selector"]}
    assert status["url"].endswith(f"/v1/pools/pool.{space.name}")
    assert status["observedGeneration"] == 1
    assert set(status["timeToReady"]) == {
        "scheduledSeconds",
        "startedSeconds",
        "preloadedSeconds",
    }
    space.until_condition("Degraded", "False", "AsExpected")
    until(lambda: space.events("Ready"), "an event says so")


def test_a_pool_of_no_workers_is_ready(space: Namespace) -> None:
    space.apply(replicas=0)
    space.until_condition("Ready", "True", "ScaledToZero")
    space.until_condition("Progressing", "False", "Complete")


def test_a_worker_that_terminates_does_not_count(space: Namespace) -> None:
    space.apply(replicas=2)
    space.until_ready()
    pod = space.pods()[0]
    path = f"/api/v1/namespaces/{space.name}/pods/{pod['metadata']['name']}"
    # A finalizer keeps it terminating for as long as the test looks.
    space.api.merge(path, {"metadata": {"finalizers": ["test.example/hold"]}})
    space.api.delete(path)
    try:
        space.until_condition("Ready", "False", "SomeServe")
        assert space.pool()["status"]["readyReplicas"] == 1
    finally:
        space.api.merge(path, {"metadata": {"finalizers": None}})


def waiting(reason: str, message: str = "", **more: Any) -> Raw:
    return container(state={"waiting": {"reason": reason, "message": message}}, **more)


def ended(code: int, message: str = "", reason: str = "Error") -> Raw:
    when = now()
    return {
        "terminated": {
            "exitCode": code,
            "reason": reason,
            "message": message,
            "startedAt": when,
            "finishedAt": when,
        }
    }


LAST_WORDS = (
    '{"time": "t", "level": "info", "message": "listening"}\n'
    '{"time": "t", "level": "error", "message": "preload of nosuch failed: '
    "ModuleNotFoundError: No module named 'nosuch'\"}\n"
)

TROUBLES: dict[str, tuple[Raw, str, str]] = {
    "Unschedulable": (
        {
            "conditions": [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": "0/2 nodes are available: 2 Insufficient memory.",
                    "lastTransitionTime": now(),
                }
            ]
        },
        "2 Insufficient memory",
        "Add nodes",
    ),
    "ImagePullFailed": (
        {"containerStatuses": [waiting("ImagePullBackOff", "Back-off pulling image")]},
        "Back-off pulling image",
        "spec.imagePullSecrets",
    ),
    "CannotStart": (
        {"containerStatuses": [waiting("CreateContainerConfigError", 'secret "db" not found')]},
        'secret "db" not found',
        "spec.image, and what spec.env",
    ),
    "PreloadFailed": (
        {
            "containerStatuses": [
                waiting("CrashLoopBackOff", lastState=ended(1, LAST_WORDS), restartCount=3)
            ]
        },
        "preload of nosuch failed: ModuleNotFoundError: No module named 'nosuch'",
        "spec.preload",
    ),
    "WorkerCrashing": (
        {
            "containerStatuses": [
                waiting("CrashLoopBackOff", lastState=ended(2, "oh no\n"), restartCount=1)
            ]
        },
        "exit code 2: oh no",
        "kubectl logs",
    ),
    "OutOfMemory": (
        {
            "containerStatuses": [
                waiting(
                    "CrashLoopBackOff", lastState=ended(137, reason="OOMKilled"), restartCount=1
                )
            ]
        },
        "more memory than its limit",
        "spec.limits.memory",
    ),
}


@pytest.mark.parametrize("reason", TROUBLES)
def test_what_keeps_a_pod_from_running_is_told_and_what_to_do(
    space: Namespace, reason: str
) -> None:
    status, says, cure = TROUBLES[reason]
    space.apply(replicas=2)
    for pod in space.until_pods(2):
        space.set_pod(pod, status)

    def both() -> Raw | None:
        found = space.condition("Degraded")
        return found if "2 workers" in found.get("message", "") else None

    condition = until(both, "both workers are told of")
    assert condition["reason"] == reason
    assert says in condition["message"]
    assert cure in condition["message"]
    assert says in space.until_condition("Ready", "False", "NoneServes")["message"]
    until(lambda: space.events(reason), "an event says so")
    space.until_ready()
    space.until_condition("Degraded", "False", "AsExpected")
    until(lambda: space.events("Recovered"), "an event says so")


def test_a_lost_node_is_told_of_by_its_name(space: Namespace) -> None:
    space.apply(replicas=2)
    space.until_ready()
    pod = space.pods()[0]
    name = pod["metadata"]["name"]
    path = f"/api/v1/namespaces/{space.name}/pods/{name}"
    node = {"kind": "Node", "name": "node-7"}
    space.api.call("POST", f"{path}/binding", {"metadata": {"name": name}, "target": node})
    try:
        # As the node controller leaves it: the kubelet's last words, but for Ready.
        conditions = pod["status"]["conditions"]
        lost = [one | {"status": "False"} if one["type"] == "Ready" else one for one in conditions]
        space.set_pod(pod, {"conditions": lost})
        condition = space.until_condition("Degraded", "True", "NodeLost")
        assert "1 worker: node node-7 does not answer" in condition["message"]
        assert "kubectl get nodes" in condition["message"]
        assert "node-7" in space.until_condition("Ready", "False", "SomeServe")["message"]
    finally:
        space.api.delete(f"{path}?gracePeriodSeconds=0")  # there is no kubelet that would end it
    space.until_ready()
    space.until_condition("Degraded", "False", "AsExpected")


def test_a_broken_rollout_leaves_the_old_workers_serving_and_says_why(space: Namespace) -> None:
    space.apply(replicas=3)
    space.until_ready()
    old = {pod["metadata"]["name"] for pod in space.pods()}
    space.apply(replicas=3, image="registry.example/broken:1")

    def new_pods() -> list[Raw]:
        return [pod for pod in space.pods() if pod["metadata"]["name"] not in old]

    for pod in until(new_pods, "a pod of the new image"):
        space.set_pod(pod, TROUBLES["ImagePullFailed"][0])
    condition = space.until_condition("Degraded", "True", "ImagePullFailed")
    assert "spec.image" in condition["message"]
    space.until_condition("Ready", "True", "AllServe")
    space.until_condition("Progressing", "True", "WorkersChange")
    assert old <= {pod["metadata"]["name"] for pod in space.pods()}
    assert space.pool()["status"]["readyReplicas"] == 3


def test_pods_that_the_namespace_refuses_are_told_of(operator: OperatorProcess) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    with namespace(operator.api, labels) as space:
        sidecar = {"name": "side", "image": "side", "securityContext": {"privileged": True}}
        space.apply(template={"spec": {"containers": [sidecar]}})
        condition = space.until_condition("Degraded", "True", "PodsRefused")
        assert "privileged" in condition["message"]
        assert "spec.template" in condition["message"]


def test_pods_are_admitted_under_the_restricted_profile(operator: OperatorProcess) -> None:
    labels = {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/enforce-version": "latest",
    }
    with namespace(operator.api, labels) as space:
        weaker = {
            "hostNetwork": True,
            "securityContext": {"runAsNonRoot": False},
            "containers": [
                {
                    "name": "worker",
                    "securityContext": {
                        "privileged": True,
                        "capabilities": {"add": ["SYS_ADMIN"]},
                    },
                }
            ],
        }
        space.apply(replicas=2, template={"spec": weaker})
        space.until_pods(2)


def test_a_template_that_is_no_pod_ends_in_a_condition(space: Namespace) -> None:
    space.apply(template={"spec": {"nodeSelectr": {"disk": "ssd"}}})
    condition = space.until_condition("Degraded", "True", "InvalidTemplate")
    assert "nodeSelectr" in condition["message"]
    space.until_condition("Progressing", "False", "Blocked")
    space.until_condition("Ready", "False", "NoneServes")
    space.apply(template={"spec": {"nodeSelector": {"disk": "ssd"}}})
    space.until_condition("Degraded", "False", "AsExpected")
    space.until_children()


def test_a_broken_template_leaves_what_runs_as_it_is(space: Namespace) -> None:
    space.apply(replicas=2)
    space.until_ready()
    space.apply(replicas=3, template={"spec": {"containers": "worker"}})
    condition = space.until_condition("Degraded", "True", "InvalidTemplate")
    assert "spec.template.spec.containers must be a list" in condition["message"]
    assert len(space.pods()) == 2
    space.until_condition("Ready", "False", "SomeServe")
