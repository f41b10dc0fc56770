"""What a pool is made of is made, put right, and removed, against a real API server."""

from base64 import b64decode, b64encode
from copy import deepcopy

import pytest
from tests.support.kubernetes_api import Raw
from tests.support.operated import CHILDREN, Namespace, until
from tests.support.operator_process import LINK_KEY, WORKER_IMAGE, OperatorProcess

from anypod.resources import link_tokens

pytestmark = pytest.mark.usefixtures("operator")


def worker(deployment: Raw) -> Raw:
    found: Raw = deployment["spec"]["template"]["spec"]["containers"][0]
    assert found["name"] == "worker"
    return found


def test_everything_is_made_and_belongs_to_the_pool(space: Namespace) -> None:
    uid = space.apply(replicas=3)["metadata"]["uid"]
    for child in space.until_children().values():
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == (uid, True)
        assert child["metadata"]["labels"]["anypod.dev/pool"] == "pool"
        assert "finalizers" not in child["metadata"]
    assert "finalizers" not in space.pool()["metadata"]
    assert "annotations" not in space.pool()["metadata"]
    assert len(space.until_pods(3)) == 3


def test_pods_cannot_do_what_they_need_not(space: Namespace) -> None:
    space.apply()
    children = space.until_children()
    pod = children["Deployment"]["spec"]["template"]["spec"]
    assert worker(children["Deployment"])["image"] == WORKER_IMAGE
    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == "pool-workers"
    assert children["ServiceAccount"]["automountServiceAccountToken"] is False
    assert children["Service"]["spec"]["clusterIP"] == "None"


@pytest.mark.parametrize("kind", CHILDREN)
def test_a_deleted_child_is_made_again(space: Namespace, kind: str) -> None:
    space.apply()
    uid = space.until_children()[kind]["metadata"]["uid"]
    space.api.delete(space.child_path(kind))
    until(lambda: (c := space.child(kind)) and c["metadata"]["uid"] != uid, f"a new {kind}")
    until(lambda: space.events("Restored"), "an event says so")


EDITS: dict[str, Raw] = {
    "ServiceAccount": {"automountServiceAccountToken": True},
    "NetworkPolicy": {"spec": {"egress": [{}]}},
    "Service": {"spec": {"selector": {"app": "other"}}},
    "PodDisruptionBudget": {"spec": {"maxUnavailable": 0}},
    "Deployment": {
        "spec": {"replicas": 7, "template": {"metadata": {"labels": {"anypod.dev/pool": "pool"}}}}
    },
}


@pytest.mark.parametrize("kind", EDITS)
def test_an_edited_child_is_put_right(space: Namespace, kind: str) -> None:
    space.apply()
    before = space.until_children()[kind]
    space.api.merge(space.child_path(kind), EDITS[kind])

    def is_right() -> bool:
        child = space.child(kind)
        ignored = ("metadata", "status")
        return child is not None and all(
            child[part] == before[part] for part in before if part not in ignored
        )

    until(is_right, f"{kind} is as it was")
    until(lambda: space.events("Repaired"), "an event says so")


@pytest.mark.parametrize("kind", CHILDREN)
def test_lost_labels_and_owners_are_put_back(space: Namespace, kind: str) -> None:
    uid = space.apply()["metadata"]["uid"]
    space.until_children()
    body = {"metadata": {"labels": None, "ownerReferences": None}}
    space.api.merge(space.child_path(kind), body)

    def is_ours() -> bool:
        metadata = (space.child(kind) or {}).get("metadata", {})
        owners = [one["uid"] for one in metadata.get("ownerReferences", [])]
        return owners == [uid] and metadata["labels"].get("anypod.dev/pool") == "pool"

    until(is_ours, f"{kind} is the pool's again")


def test_a_capability_that_is_added_to_the_worker_goes(space: Namespace) -> None:
    space.apply()
    before = space.until_children()["Deployment"]
    edited = deepcopy(before["spec"]["template"])
    edited["spec"]["containers"][0]["securityContext"]["capabilities"]["add"] = ["NET_ADMIN"]
    space.api.merge(space.child_path("Deployment"), {"spec": {"template": edited}})
    until(lambda: space.events("Repaired"), "an event says so")
    after = space.child("Deployment")
    assert after is not None
    assert after["spec"]["template"] == before["spec"]["template"]


def test_what_others_add_stays_and_is_not_fought_over(
    space: Namespace, operator: OperatorProcess
) -> None:
    space.apply()
    template = deepcopy(space.until_children()["Deployment"]["spec"]["template"])
    template["spec"]["containers"][0]["env"].append({"name": "TEAM", "value": "a"})
    template["spec"]["containers"].append({"name": "side", "image": "side:1"})
    template["spec"]["volumes"].append({"name": "more", "emptyDir": {}})
    body = {"metadata": {"annotations": {"team": "a"}, "labels": {"cost": "b"}}}
    added = space.api.merge(
        space.child_path("Deployment"), {**body, "spec": {"template": template}}
    )
    space.apply(replicas=3)
    until(lambda: (d := space.child("Deployment")) and d["spec"]["replicas"] == 3, "3 replicas")
    after = space.child("Deployment")
    assert after is not None
    assert after["metadata"]["annotations"]["team"] == "a"
    assert after["metadata"]["labels"]["cost"] == "b"
    assert after["spec"]["template"] == added["spec"]["template"]


def test_workers_that_are_restarted_by_hand_are_not_replaced_again(space: Namespace) -> None:
    space.apply(replicas=1)
    space.until_children()
    restarted = {"kubectl.kubernetes.io/restartedAt": "2026-01-02T03:04:05Z"}
    template = {"metadata": {"annotations": restarted}}
    asked = space.api.merge(space.child_path("Deployment"), {"spec": {"template": template}})
    space.apply(replicas=2)
    until(lambda: (d := space.child("Deployment")) and d["spec"]["replicas"] == 2, "2 replicas")
    after = space.child("Deployment")
    assert after is not None
    assert after["spec"]["template"] == asked["spec"]["template"]
    assert restarted.items() <= after["spec"]["template"]["metadata"]["annotations"].items()
    assert space.events("Repaired") == []


def test_a_change_of_the_spec_reaches_the_pods(space: Namespace) -> None:
    template = {"spec": {"nodeSelector": {"disk": "ssd"}, "priority": 0}}
    space.apply(template=template, preload=["json"])
    before = space.until_children()["Deployment"]
    assert before["spec"]["template"]["spec"]["nodeSelector"] == {"disk": "ssd"}
    space.apply(image="registry.example/mine:2", preload=["json", "csv"])

    def changed() -> Raw | None:
        deployment = space.child("Deployment")
        assert deployment is not None
        return deployment if worker(deployment)["image"] == "registry.example/mine:2" else None

    after = until(changed, "the image is changed")
    variables = {one["name"]: one for one in worker(after)["env"]}
    assert '"preload":["json","csv"]' in variables["ANYPOD_WORKER_CONFIG"]["value"]
    # What the pool says no more is gone, and not what somebody set once.
    assert "nodeSelector" not in after["spec"]["template"]["spec"]


def test_a_worker_may_be_limited_to_less_than_it_would_request(space: Namespace) -> None:
    limited = {"name": "worker", "resources": {"limits": {"memory": "200Mi"}}}
    space.apply(replicas=1, template={"spec": {"containers": [limited]}})
    (pod,) = space.until_pods(1)
    (container,) = pod["spec"]["containers"]
    assert container["resources"]["requests"] == {"cpu": "100m", "memory": "200Mi"}


def test_a_change_that_only_gateways_heed_makes_no_new_pods(space: Namespace) -> None:
    space.apply(queue={"depth": 10})
    before = space.until_children()["Deployment"]
    space.until_condition("Ready", "False")
    space.apply(queue={"depth": 20}, sessions={"ttlSeconds": 5})
    until(lambda: space.condition("Ready"), "the change was seen")
    after = space.child("Deployment")
    assert after is not None
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


def test_the_links_secret_is_what_gateways_derive_whatever_is_done_to_it(
    space: Namespace, operator: OperatorProcess
) -> None:
    wanted = link_tokens.derive(LINK_KEY, space.name, "pool")

    def is_right() -> bool:
        secret = space.child("Secret")
        return secret is not None and b64decode(secret["data"]["token"]).decode() == wanted

    space.apply()
    before = space.until_children()["Deployment"]
    assert is_right()
    space.api.merge(space.child_path("Secret"), {"data": {"token": b64encode(b"x").decode()}})
    until(is_right, "what was edited is right again")
    space.api.delete(space.child_path("Secret"))
    until(is_right, "what was deleted is there again")
    operator.kill()
    operator.start()
    assert is_right()
    after = space.child("Deployment")
    assert after is not None
    assert after["spec"]["template"] == before["spec"]["template"]
    assert wanted not in operator.log


@pytest.mark.parametrize("kind", ["Deployment", "Secret"])
def test_what_is_not_ours_is_not_touched(space: Namespace, kind: str) -> None:
    space.apply("other")
    theirs = space.until_children("other")[kind]
    foreign = {
        "apiVersion": theirs["apiVersion"],
        "kind": kind,
        "metadata": {"name": theirs["metadata"]["name"].replace("other", "pool")},
    }
    if kind == "Deployment":
        foreign["spec"] = {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "mine"}},
            "template": {
                "metadata": {"labels": {"app": "mine"}},
                "spec": {"containers": [{"name": "mine", "image": "mine"}]},
            },
        }
    made = space.api.apply(space.child_path(kind), foreign)
    space.apply("pool")
    condition = space.until_condition("Degraded", "True", "NameTaken")
    assert f"{kind} {foreign['metadata']['name']}" in condition["message"]
    seen = space.child(kind)
    assert seen is not None
    assert seen["metadata"].get("ownerReferences") is None
    assert seen.get("spec") == made.get("spec")


def test_a_deleted_pool_takes_everything_along(space: Namespace) -> None:
    space.apply()
    space.until_children()
    space.delete_pool()
    space.until_gone()
    until(lambda: not space.pods(), "its pods are gone")


def test_a_pool_of_the_same_name_begins_anew(space: Namespace) -> None:
    space.apply()
    space.until_children()
    space.delete_pool()
    uid = space.apply(replicas=5)["metadata"]["uid"]

    def all_new() -> bool:
        children = [space.child(kind) for kind in CHILDREN]
        return all(
            child is not None and child["metadata"]["ownerReferences"][0]["uid"] == uid
            for child in children
        )

    until(all_new, "all children belong to the new pool")
    until(lambda: (d := space.child("Deployment")) and d["spec"]["replicas"] == 5, "5 replicas")


def test_what_is_held_from_being_deleted_is_told_of(space: Namespace) -> None:
    space.apply(replicas=1)
    space.until_children()
    path = space.child_path("Service")
    space.api.merge(path, {"metadata": {"finalizers": ["test.example/hold"]}})
    space.api.delete(path)
    try:
        condition = space.until_condition("Degraded", "True", "Waiting")
        assert "Service pool-workers is being deleted" in condition["message"]
        assert "finalizers" in condition["message"]
    finally:
        space.api.merge(path, {"metadata": {"finalizers": None}})
    space.until_condition("Degraded", "False")


def test_pools_with_the_longest_name_work(space: Namespace) -> None:
    longest = "p" * 40
    space.apply(longest, replicas=2)
    space.until_children(longest)
    assert all(len(pod["metadata"]["name"]) <= 63 for pod in space.until_pods(2, longest))
