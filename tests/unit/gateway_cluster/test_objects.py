"""What objects of the Kubernetes API say of workers."""

from typing import Any

import pytest

from anypod.resources import link_tokens, names, served
from anypod_gateway.cluster.objects import endpoints_of
from anypod_gateway.discovery import DesiredPool, Endpoint


def endpoint(pod: str, address: str = "10.0.0.1", **conditions: bool | None) -> dict[str, Any]:
    return {
        "addresses": [address],
        "conditions": {"ready": True, **conditions},
        "targetRef": {"kind": "Pod", "name": pod},
    }


def endpoint_slice(*endpoints: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "a", "name": "s", "labels": {"anypod.dev/pool": "p"}},
        "endpoints": list(endpoints),
        "ports": [{"name": "other", "port": 1}, {"name": "link", "port": 8701}],
        **changes,
    }


def test_a_pod_of_the_slice_is_a_worker() -> None:
    found = endpoints_of([endpoint_slice(endpoint("w1"), endpoint("w2", "fd00::2"))])
    assert found == {
        ("a", "p"): (
            Endpoint("w1", "10.0.0.1", 8701, ready=True),
            Endpoint("w2", "fd00::2", 8701, ready=True),
        )
    }


@pytest.mark.parametrize(
    ("conditions", "ready", "terminating"),
    [
        ({"ready": False}, False, False),
        ({"ready": None}, True, False),
        ({"ready": False, "serving": True, "terminating": True}, False, True),
        ({"ready": True, "terminating": True}, True, True),
    ],
)
def test_conditions_are_taken_over(
    conditions: dict[str, bool], ready: bool, terminating: bool
) -> None:
    (worker,) = endpoints_of([endpoint_slice(endpoint("w1", **conditions))])["a", "p"]
    assert (worker.ready, worker.terminating) == (ready, terminating)


@pytest.mark.parametrize("order", [1, -1])
def test_of_a_pod_in_two_slices_the_better_news_holds(order: int) -> None:
    slices = [endpoint_slice(endpoint("w1", ready=False)), endpoint_slice(endpoint("w1"))][::order]
    (worker,) = endpoints_of(slices)["a", "p"]
    assert worker.ready


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoints": None},
        {"ports": None},
        {"ports": [{"name": "other", "port": 1}]},
        {"metadata": {"namespace": "a", "name": "s"}},
        {"endpoints": [{"addresses": ["10.0.0.1"]}]},
        {"endpoints": [{"addresses": [], "targetRef": {"kind": "Pod", "name": "w"}}]},
        {"endpoints": [{"addresses": ["10.0.0.1"], "targetRef": {"kind": "Node", "name": "w"}}]},
    ],
)
def test_what_is_no_workers_pod_is_passed_over(changes: dict[str, Any]) -> None:
    found = endpoints_of([endpoint_slice(**changes)])
    assert not any(found.values())


def test_pools_of_other_namespaces_are_called_with_theirs() -> None:
    raw = {"apiVersion": "anypod.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": "p"}}
    manifest, _ = served.read(raw | {"status": {"replicas": 1}})
    for namespace, called in (("a", "p"), ("b", "p.b")):
        is_home = namespace == "a"
        assert DesiredPool(manifest, (), namespace=namespace, is_home=is_home).name == called
        # What the operator tells people to call.
        assert names.for_clients("p", namespace, home="a") == called


def test_each_pool_has_a_token_of_its_own() -> None:
    made = {
        link_tokens.derive(key, namespace, pool)
        for key in ("k", "l")
        for namespace, pool in (("a", "p"), ("a", "q"), ("b", "p"))
    }
    assert len(made) == 6
    assert link_tokens.derive("k", "a", "p") in made
