"""The operator does not load the API server: counted by the server's own audit log."""

import time
from pathlib import Path

import pytest
from tests.support.bad_pools import BAD
from tests.support.kubernetes_api import ApiFailure, KubernetesApi, Raw
from tests.support.operated import Namespace, until
from tests.support.operator_process import OperatorProcess

WATCHED_SECONDS = 20.0
"""How long it is looked on; a loop that turns would make thousands of calls in it."""


def calls(api: KubernetesApi, namespace: str) -> list[Raw]:
    return [
        record
        for record in api.audit("operator")
        if record.get("objectRef", {}).get("namespace") == namespace
    ]


def calls_while_nothing_happens(space: Namespace) -> int:
    before = len(calls(space.api, space.name))
    time.sleep(WATCHED_SECONDS)
    return len(calls(space.api, space.name)) - before


TEMPLATES: dict[str, Raw] = {
    "an unknown field": {"nodeSelectr": {}},
    "a wrong type": {"containers": "none"},
    "a container without an image": {"containers": [{"name": "side"}]},
    "two containers of one name": {"containers": [{"name": "a"}, {"name": "a"}]},
    "a bad quantity": {
        "containers": [{"name": "worker", "resources": {"limits": {"memory": "much"}}}]
    },
    "a mount of nothing": {
        "containers": [{"name": "worker", "volumeMounts": [{"name": "no", "mountPath": "/no"}]}]
    },
    "a restart policy that a Deployment has not": {"restartPolicy": "Never"},
    "a volume of two kinds": {
        "volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]
    },
    "a long name": {"containers": [{"name": "c" * 70, "image": "i"}]},
}


@pytest.mark.timeout(300)
def test_bad_templates_end_in_a_condition_and_in_silence(
    space: Namespace, own: OperatorProcess
) -> None:
    own.start()
    pools = {f"bad-{number}": what for number, what in enumerate(TEMPLATES)}
    for pool, what in pools.items():
        space.apply(pool, template={"spec": TEMPLATES[what]})
    for pool, what in pools.items():
        condition = space.until_condition("Degraded", "True", "InvalidTemplate", pool)
        assert "spec.template" in condition["message"], what
        assert space.child("Deployment", pool) is None
    # Looks that its own writes have triggered may still be under way.
    made = len(calls(space.api, space.name))
    assert made < 40 * len(TEMPLATES)
    assert calls_while_nothing_happens(space) <= 5 * len(TEMPLATES)


def test_a_pool_that_is_as_it_should_be_costs_nothing(
    space: Namespace, own: OperatorProcess
) -> None:
    own.start()
    space.apply(replicas=3)
    space.until_ready()
    until(lambda: space.condition("Ready"), "the status is written")
    assert calls_while_nothing_happens(space) <= 6


def test_what_is_right_is_not_written_again(space: Namespace, own: OperatorProcess) -> None:
    own.start()
    space.apply(replicas=2)
    space.until_ready()
    before = len(calls(space.api, space.name))
    space.apply(replicas=3)
    space.until_pods(3)
    until(lambda: space.condition("Ready"), "the change was seen")
    written = [
        record["objectRef"]["resource"]
        for record in calls(space.api, space.name)[before:]
        if record["verb"] == "patch" and record["objectRef"].get("subresource") is None
    ]
    assert written == ["deployments"]


def test_a_pool_is_made_with_few_calls(space: Namespace, own: OperatorProcess) -> None:
    own.start()
    space.apply(replicas=8)
    space.until_ready()
    assert len(calls(space.api, space.name)) < 120


def test_a_child_that_somebody_else_changes_all_the_time_is_put_right_now_and_then(
    space: Namespace, own: OperatorProcess
) -> None:
    own.start()
    space.apply()
    space.until_children()
    before = len(calls(space.api, space.name))
    end = time.monotonic() + WATCHED_SECONDS
    edits = 0
    while time.monotonic() < end or edits < 100:
        edits += 1
        space.api.merge(space.child_path("Service"), {"spec": {"selector": {"edit": str(edits)}}})
        time.sleep(0.02)
    assert len(calls(space.api, space.name)) - before < edits
    until(
        lambda: (s := space.child("Service")) and "edit" not in s["spec"]["selector"],
        "at last it is right",
    )


def test_bad_manifests_do_not_reach_the_operator(
    space: Namespace, own: OperatorProcess, tmp_path: Path
) -> None:
    own.start()
    before = len(calls(space.api, space.name))
    path = f"{space.pool_path('').removesuffix('/')}?fieldValidation=Strict"
    for bad in BAD:
        body = {
            "apiVersion": "anypod.dev/v1alpha1",
            "kind": "WorkerPool",
            "metadata": {"name": bad.name},
            "spec": bad.spec,
        }
        with pytest.raises(ApiFailure):
            space.api.call("POST", path, body)
    space.apply("good")
    space.until_children("good")
    seen = {record["objectRef"].get("name", "") for record in calls(space.api, space.name)[before:]}
    assert not any(name.startswith("pool") for name in seen)
