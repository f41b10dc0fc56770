"""Killed at any moment, the operator finishes later what it had begun; and what it is not needed
for goes on without it."""

import random
import time
from typing import Any

import pytest
from tests.support.kubernetes_api import Raw
from tests.support.operated import CHILDREN, Namespace, until
from tests.support.operator_process import LINK_KEY, WORKER_IMAGE, OperatorProcess

from anypod_operator.objects import build
from anypod_operator.pools import parse
from anypod_operator.settings import Settings

MOMENTS = 20
SPECS: list[dict[str, Any]] = [
    {"replicas": 2},
    {"replicas": 4, "preload": ["json"]},
    {"replicas": 1, "image": "registry.example/other:2", "network": {"egress": "none"}},
    {"replicas": 3, "template": {"spec": {"nodeSelector": {"disk": "ssd"}}}},
]


def lacks(actual: Any, wanted: Any, path: str = "") -> str:
    """Where something that is wanted is not; empty when it is all there."""
    if isinstance(wanted, dict) and isinstance(actual, dict):
        for name, value in wanted.items():
            if name not in actual and value in (False, [], {}):
                continue  # the API leaves it away
            if name not in actual:
                return f"{path}.{name}"
            if found := lacks(actual[name], value, f"{path}.{name}"):
                return found
        return ""
    if isinstance(wanted, list) and isinstance(actual, list) and len(wanted) == len(actual):
        found = (
            lacks(a, w, f"{path}[{n}]") for n, (a, w) in enumerate(zip(actual, wanted, strict=True))
        )
        return next((one for one in found if one), "")
    return "" if actual == wanted else f"{path}: {actual!r} is not {wanted!r}"


def differs(space: Namespace) -> str:
    """Where what is there is not what the pool wants."""
    pool = space.pool()
    settings = Settings(worker_image=WORKER_IMAGE, link_key=LINK_KEY)
    for wanted in build(parse(pool), settings):
        actual = space.child(wanted["kind"])
        if actual is None:
            return f"no {wanted['kind']}"
        if found := lacks(actual, wanted, wanted["kind"]):
            return found
        owners = [one["uid"] for one in actual["metadata"]["ownerReferences"]]
        if owners != [pool["metadata"]["uid"]]:
            return f"{wanted['kind']} belongs to {owners}"
    if pool.get("status", {}).get("observedGeneration") != pool["metadata"]["generation"]:
        return "the status is old"
    return ""


def count_children(space: Namespace) -> dict[str, int]:
    """Of each kind, what is ours in the namespace."""
    counts = {}
    for kind, path in CHILDREN.items():
        folder = path.format(space.name, "pool").rpartition("/")[0]
        selector = "?labelSelector=app.kubernetes.io%2Fmanaged-by%3Danypod-operator"
        counts[kind] = len(space.api.call("GET", folder + selector)["items"])
    return counts


@pytest.mark.timeout(900)
def test_killed_at_twenty_random_moments_it_comes_to_the_same(
    space: Namespace, own: OperatorProcess
) -> None:
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    # Each of them often, in an order of which no action always meets the same.
    specs = SPECS * (MOMENTS // len(SPECS))
    chance.shuffle(specs)
    own.start()
    for moment in range(MOMENTS):
        action = ("create", "update", "rollout", "delete")[moment % 4]
        if action == "delete":
            space.delete_pool()
        else:
            space.apply(**specs.pop())
        time.sleep(chance.uniform(0, 0.8))  # the moment is what the test is about
        own.kill()
        own.start()
        if action == "delete":
            space.until_gone()
            continue
        where = f"{action} {moment} (seed {seed})"
        until(lambda: not differs(space), lambda where=where: f"{where}: {differs(space)}")
        assert count_children(space) == dict.fromkeys(CHILDREN, 1)


def test_a_pool_is_deleted_while_the_operator_is_down(
    space: Namespace, own: OperatorProcess
) -> None:
    own.start()
    space.apply()
    space.until_children()
    own.kill()
    space.delete_pool()
    space.until_gone()
    own.start()
    assert own.get("/healthz")[0] == 200


def test_a_namespace_is_deleted_while_the_operator_is_down(
    space: Namespace, own: OperatorProcess
) -> None:
    own.start()
    space.apply()
    space.until_children()
    own.kill()
    space.api.delete(f"/api/v1/namespaces/{space.name}")
    path = f"/api/v1/namespaces/{space.name}"
    until(lambda: space.api.get(path) is None, "the namespace is gone")


def test_a_namespace_is_deleted_while_the_operator_looks_on(
    space: Namespace, own: OperatorProcess
) -> None:
    own.start()
    for number in range(5):
        space.apply(f"pool-{number}")
    space.api.delete(f"/api/v1/namespaces/{space.name}")
    path = f"/api/v1/namespaces/{space.name}"
    until(lambda: space.api.get(path) is None, "the namespace is gone")
    assert own.get("/healthz")[0] == 200
    assert "Traceback" not in own.log


def test_a_pool_is_deleted_before_anything_could_be_made(
    space: Namespace, own: OperatorProcess
) -> None:
    space.apply(template={"spec": {"containers": "none"}})
    own.start()
    space.until_condition("Degraded", "True", "InvalidTemplate")
    space.delete_pool()
    space.until_gone()


def test_pods_are_replaced_while_the_operator_is_down(
    space: Namespace, own: OperatorProcess
) -> None:
    own.start()
    space.apply(replicas=2)
    before = {pod["metadata"]["uid"] for pod in space.until_pods(2)}
    own.kill()
    for pod in space.pods():
        space.api.delete(f"/api/v1/namespaces/{space.name}/pods/{pod['metadata']['name']}")

    def replaced() -> list[Raw]:
        return [pod for pod in space.pods() if pod["metadata"]["uid"] not in before]

    until(lambda: len(replaced()) == 2, "two new pods")
    own.start()
    space.until_ready()


def test_what_changed_while_the_operator_was_down_is_caught_up_with(
    space: Namespace, own: OperatorProcess
) -> None:
    own.start()
    space.apply(replicas=2)
    space.until_children()
    own.kill()
    space.apply(replicas=3)
    space.api.delete(space.child_path("NetworkPolicy"))
    space.api.merge(space.child_path("Service"), {"spec": {"selector": {"app": "x"}}})
    space.apply("late")
    own.start()
    until(lambda: not differs(space), lambda: differs(space))
    space.until_children("late")


def test_what_is_brought_to_a_new_spec_after_a_start_is_not_said_to_have_been_edited(
    space: Namespace, own: OperatorProcess
) -> None:
    own.start()
    space.apply(replicas=2)
    space.until_children()
    own.kill()
    space.apply(replicas=3, preload=["json"])
    own.start()
    until(lambda: not differs(space), lambda: differs(space))
    assert space.events("Repaired") == []
    repairs = own.get("/metrics")[1]
    assert 'anypod_operator_repairs_total{kind="Deployment",what="changed"} 1.0' in repairs
    assert 'what="repaired"' not in repairs
    space.api.merge(space.child_path("Deployment"), {"spec": {"replicas": 7}})
    until(lambda: space.events("Repaired"), "of what it has applied itself it says so")


def test_it_ends_with_status_0_when_it_is_told_to(own: OperatorProcess) -> None:
    own.start()
    assert own.stop() == 0
