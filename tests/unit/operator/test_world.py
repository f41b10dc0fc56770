"""The cache of what watches told, and what heals it."""

from typing import Any

from tests.support.operator_pools import make_pool

from anypod_operator.api_errors import NotFound
from anypod_operator.children import Children, fingerprint
from anypod_operator.kinds import DEPLOYMENT, POD, POOL, SECRET
from anypod_operator.pools import PoolKey
from anypod_operator.resync import Freshness
from anypod_operator.world import World, pool_of

KEY = PoolKey("team", "texts")
Raw = dict[str, Any]


def raw(name: str, version: int, **metadata: Any) -> Raw:
    return {
        "metadata": {
            "name": name,
            "namespace": "team",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"anypod.dev/pool": "texts"},
            **metadata,
        },
        "spec": {"nodeName": "n1", "containers": ["much"]},
        "status": {"phase": "Running", "hostIP": "1.2.3.4"},
    }


class Told:
    def __init__(self) -> None:
        self.keys: list[PoolKey] = []
        self.world = World(self.keys.append)


def test_events_fill_it_and_name_the_pool() -> None:
    told = Told()
    told.world.note(POD, "ADDED", raw("a", 1))
    told.world.note(POOL, None, raw("texts", 2))
    told.world.note(DEPLOYMENT, "ADDED", raw("texts-workers", 3))
    assert told.keys == [KEY] * 3
    assert told.world.pools() == [KEY]
    assert [pod["metadata"]["name"] for pod in told.world.pods(KEY)] == ["a"]
    told.world.note(POD, "DELETED", raw("a", 4))
    assert told.world.pods(KEY) == []


def test_what_is_older_than_what_is_known_changes_nothing() -> None:
    told = Told()
    told.world.note(POD, "ADDED", raw("a", 5, annotations={"new": "1"}))
    told.world.note(POD, "MODIFIED", raw("a", 4))
    told.world.note(POD, "DELETED", raw("a", 4))
    told.world.keep(POD, raw("a", 3))
    (pod,) = told.world.pods(KEY)
    assert pod["metadata"]["annotations"] == {"new": "1"}
    assert len(told.keys) == 1


def test_a_list_heals_what_was_missed_and_keeps_what_is_newer() -> None:
    told = Told()
    for name, version in (("missed-change", 1), ("missed-end", 2), ("newer", 99)):
        told.world.note(POD, "ADDED", raw(name, version))
    listed = [raw("missed-change", 10), raw("missed-birth", 11)]
    healed = told.world.replace(POD, "team", listed, "50")
    assert {name for _, name in healed} == {"missed-change", "missed-end", "missed-birth"}
    found = {pod["metadata"]["name"] for pod in told.world.pods(KEY)}
    assert found == {"missed-change", "missed-birth", "newer"}
    assert told.world.replace(POD, "team", listed, "50") == []


def test_a_list_of_one_namespace_says_nothing_of_another() -> None:
    told = Told()
    told.world.note(POD, "ADDED", raw("a", 1, namespace="other"))
    told.world.replace(POD, "team", [], "50")
    assert told.world.pods(PoolKey("other", "texts"))
    told.world.replace(POD, None, [], "50")
    assert not told.world.pods(PoolKey("other", "texts"))


def test_secrets_are_not_kept() -> None:
    told = Told()
    told.world.note(SECRET, "ADDED", {**raw("texts-link", 1), "data": {"token": "c2VjcmV0"}})
    assert "c2VjcmV0" not in str(told.world.get(SECRET, "team", "texts-link"))


def test_what_is_kept_of_a_secret_tells_whether_it_is_another() -> None:
    told = Told()
    secret, edited = (
        {**raw("texts-link", 1), "data": {"token": text}} for text in ("YQ==", "Yg==")
    )
    told.world.note(SECRET, "ADDED", secret)
    kept = told.world.get(SECRET, "team", "texts-link")
    assert kept is not None
    assert fingerprint(kept) == fingerprint(secret)
    assert fingerprint(kept) != fingerprint(edited)


def test_a_pod_that_changes_its_pool_leaves_the_old_one() -> None:
    told = Told()
    told.world.note(POD, "ADDED", raw("a", 1))
    told.world.note(POD, "MODIFIED", raw("a", 2, labels={"anypod.dev/pool": "other"}))
    assert told.world.pods(KEY) == []
    assert len(told.world.pods(PoolKey("team", "other"))) == 1


def test_an_owner_counts_more_than_a_label() -> None:
    owner = [{"kind": "WorkerPool", "name": "mine", "uid": "u"}]
    assert pool_of(raw("a", 1, ownerReferences=owner)) == PoolKey("team", "mine")
    assert pool_of(raw("a", 1, labels={})) is None


def test_a_fingerprint_changes_with_what_is_wanted_and_not_with_what_happens() -> None:
    base = raw("a", 1, annotations={"deployment.kubernetes.io/revision": "1"})
    other = raw("a", 2, generation=7, annotations={"deployment.kubernetes.io/revision": "2"})
    other["status"] = {"replicas": 3}
    assert fingerprint(base) == fingerprint(other)
    assert fingerprint(base) != fingerprint(raw("a", 1, annotations={"x": "y"}))
    assert fingerprint(base) != fingerprint({**base, "spec": {}})
    assert fingerprint(base) != fingerprint(raw("a", 1, ownerReferences=[{"uid": "u"}]))


def test_what_a_list_showed_and_no_watch_told_is_stale() -> None:
    freshness = Freshness()
    assert freshness.staleness() == 0.0
    freshness.awaited(POD, ("team", "a"))
    assert freshness.staleness() > 0.0
    freshness.told(POD, raw("a", 1))
    assert freshness.staleness() == 0.0


class Applies:
    """An API that answers what the test says."""

    answer: Raw

    async def get(self, *_: Any) -> Raw:
        raise NotFound(404, "none")

    async def apply(self, _: Raw) -> Raw:
        return self.answer


async def test_what_a_controller_tells_while_we_apply_is_no_repair() -> None:
    told, api, pool = Told(), Applies(), make_pool()
    children = Children(api, told.world)  # type: ignore[arg-type]
    ours = {
        "ownerReferences": [
            {"kind": "WorkerPool", "name": "texts", "uid": "u-1", "controller": True}
        ]
    }
    wanted = {"kind": "Deployment", **raw("texts-workers", 0, **ours)}
    by_hand = {**ours, "annotations": {"restarted": "now"}}

    async def applied(seen: Raw | None, answer: Raw) -> str:
        if seen is not None:
            told.world.note(DEPLOYMENT, "MODIFIED", seen)
        api.answer = answer
        return await children.ensure(pool, wanted)

    assert await applied(None, raw("texts-workers", 1, **ours)) == "created"
    annotated = raw("texts-workers", 2, **by_hand)
    assert await applied(annotated, raw("texts-workers", 3, **by_hand)) == ""
    edited = {**raw("texts-workers", 4, **ours), "spec": {"replicas": 9}}
    assert await applied(edited, raw("texts-workers", 5, **ours)) == "repaired"
