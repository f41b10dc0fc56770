"""The operator does not load the API server: counted by the server's own audit log."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.bad_pools import BAD
from tests.support.kubernetes_api import ApiFailure, KubernetesApi, Raw
from tests.support.operated import Namespace, namespace, until
from tests.support.operator_process import OperatorProcess

pytestmark = pytest.mark.timeout(300)

WATCHED_SECONDS = 20.0
"""How long they are looked on; a loop that turns would make thousands of calls in it."""


def calls(api: KubernetesApi, namespace: str) -> list[Raw]:
    return [
        record
        for record in api.audit("operator")
        if record.get("objectRef", {}).get("namespace") == namespace
    ]


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
BAD_POOLS = {f"bad-{number}": what for number, what in enumerate(TEMPLATES)}


@dataclass
class Watched:
    """A namespace while it is looked on: calls before that, and in that time."""

    space: Namespace
    before: int = 0
    during: int = 0


@dataclass
class Looked:
    bad: Watched
    good: Watched
    edited: Watched
    edits: int = 0


@pytest.fixture(scope="module")
def looked(api: KubernetesApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    """One operator of three namespaces, each in a state of its own, looked on at the same time."""
    with namespace(api) as bad, namespace(api) as good, namespace(api) as edited:
        spaces = (bad, good, edited)
        options = [option for space in spaces for option in ("--namespace", space.name)]
        operator = OperatorProcess(
            api, tmp_path_factory.mktemp("looked"), *options, "--load-seconds", "1"
        )
        try:
            operator.start()
            yield looked_on(Looked(*map(Watched, spaces)))
        finally:
            operator.kill()


def looked_on(made: Looked) -> Looked:
    for pool, what in BAD_POOLS.items():
        made.bad.space.apply(pool, template={"spec": TEMPLATES[what]})
    for pool in BAD_POOLS:
        made.bad.space.until_condition("Degraded", "True", "InvalidTemplate", pool)
    good, edited = made.good.space, made.edited.space
    good.apply(replicas=3)
    good.until_ready()
    until(lambda: good.condition("Ready"), "the status is written")
    edited.apply()
    edited.until_children()
    # Looks that its own writes have triggered may still be under way.
    watched = (made.bad, made.good, made.edited)
    for one in watched:
        one.before = len(calls(one.space.api, one.space.name))
    end = time.monotonic() + WATCHED_SECONDS
    while time.monotonic() < end or made.edits < 100:
        made.edits += 1
        service = {"spec": {"selector": {"edit": str(made.edits)}}}
        edited.api.merge(edited.child_path("Service"), service)
        time.sleep(0.02)
    for one in watched:
        one.during = len(calls(one.space.api, one.space.name)) - one.before
    return made


def test_bad_templates_end_in_a_condition_and_in_silence(looked: Looked) -> None:
    space = looked.bad.space
    for pool, what in BAD_POOLS.items():
        condition = space.condition("Degraded", pool)
        assert (condition["status"], condition["reason"]) == ("True", "InvalidTemplate")
        assert "spec.template" in condition["message"], what
        assert space.child("Deployment", pool) is None
    assert looked.bad.before < 40 * len(TEMPLATES)
    assert looked.bad.during <= 5 * len(TEMPLATES)


def test_a_pool_that_is_as_it_should_be_costs_nothing(looked: Looked) -> None:
    assert looked.good.during <= 6


def test_a_child_that_somebody_else_changes_all_the_time_is_put_right_now_and_then(
    looked: Looked,
) -> None:
    space = looked.edited.space
    assert looked.edited.during < looked.edits
    until(
        lambda: (s := space.child("Service")) and "edit" not in s["spec"]["selector"],
        "at last it is right",
    )


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
