"""Every right that the chart gives, and the line for which it is needed."""

from pathlib import Path
from typing import Any

import pytest
from tests.support.chart import Object, of_kind, rendered
from tests.support.operated import RULES

ROOT = Path(__file__).parents[2]

OPERATOR = "operator/anypod_operator"
GATEWAY = "gateway/anypod_gateway"
READ = (f"{OPERATOR}/resync.py", "self._api.list_all(kind, namespace")
WATCH = (f"{OPERATOR}/watches.py", "kopf.on.event(")
LOOK = (f"{OPERATOR}/children.py", "self._api.get(kind, namespace, name)")
APPLY = (f"{OPERATOR}/children.py", "self._api.apply(wanted)")
"""Server-side apply of what is not there yet is a patch that needs the right to create too."""
SOURCE = f"{GATEWAY}/cluster/source.py"
REFLECTION = f"{GATEWAY}/cluster/reflection.py"

CHILDREN = {
    " secrets",
    " serviceaccounts",
    " services",
    "apps deployments",
    "networking.k8s.io networkpolicies",
    "policy poddisruptionbudgets",
}

USES: dict[str, dict[str, tuple[str, str]]] = {
    "operator": {
        "anypod.dev workerpools get": (f"{OPERATOR}/reconcile.py", "self._api.get(POOL"),
        "anypod.dev workerpools list": READ,
        "anypod.dev workerpools watch": WATCH,
        "anypod.dev workerpools/status patch": (f"{OPERATOR}/reconcile.py", '"/status")'),
        # Demanded by the admission plugin OwnerReferencesPermissionEnforcement.
        "anypod.dev workerpools/finalizers update": (
            f"{OPERATOR}/pools.py",
            "blockOwnerDeletion",
        ),
        **{f"{child} get": LOOK for child in CHILDREN},
        **{f"{child} list": READ for child in CHILDREN},
        **{f"{child} watch": WATCH for child in CHILDREN},
        **{f"{child} create": APPLY for child in CHILDREN},
        **{f"{child} patch": APPLY for child in CHILDREN},
        " pods list": READ,
        " pods watch": WATCH,
        " pods patch": (f"{OPERATOR}/scale_in.py", "self._api.merge(POD"),
        " events create": (f"{OPERATOR}/events.py", "self._api.create(body)"),
        " events get": (f"{OPERATOR}/events.py", "self._api.get(EVENT"),
        " events patch": (f"{OPERATOR}/events.py", "self._api.merge(EVENT"),
    },
    "gateway": {
        "anypod.dev workerpools list": (SOURCE, '"workerpools"'),
        "anypod.dev workerpools watch": (REFLECTION, "self._api.watch("),
        "discovery.k8s.io endpointslices list": (SOURCE, '"endpointslices"'),
        "discovery.k8s.io endpointslices watch": (REFLECTION, "self._api.watch("),
    },
}


BUILT_IN = {
    ("ClusterRole", "system:auth-delegator", ""): {
        "authentication.k8s.io tokenreviews create",
        "authorization.k8s.io subjectaccessreviews create",
    }
}
"""Roles that every cluster has, and what they are documented to allow."""


def each_right(rules: list[dict[str, Any]]) -> set[str]:
    return {
        f"{group} {resource} {verb}"
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def granted(objects: list[Object], account: str) -> dict[str, set[str]]:
    """What a service account may do, by namespace; '' is everywhere."""
    found: dict[str, set[str]] = {}
    for binding in objects:
        if not binding["kind"].endswith("RoleBinding"):
            continue
        if account not in {subject["name"] for subject in binding["subjects"]}:
            continue
        namespace = binding["metadata"].get("namespace", "")
        role = (binding["roleRef"]["kind"], binding["roleRef"]["name"], namespace)
        found.setdefault(namespace, set()).update(BUILT_IN.get(role) or rights_of(role, objects))
    return found


def rights_of(role: tuple[str, str, str], objects: list[Object]) -> set[str]:
    (rules,) = (
        each["rules"]
        for each in objects
        if role == (each["kind"], each["metadata"]["name"], each["metadata"].get("namespace", ""))
    )
    return each_right(rules)


@pytest.mark.parametrize("component", USES)
def test_each_right_is_needed_somewhere(component: str) -> None:
    assert granted(rendered(), f"rel-anypod-{component}") == {"": set(USES[component])}
    for right, (file, line) in USES[component].items():
        assert line in (ROOT / file).read_text(), f"{right}: {file} has no {line!r} any more"


def test_the_operator_was_tried_with_exactly_these_rights() -> None:
    assert set(USES["operator"]) == each_right(RULES)


@pytest.mark.parametrize("component", USES)
def test_with_watched_namespaces_no_right_reaches_beyond_them(component: str) -> None:
    objects = rendered({"watchNamespaces": ["red", "blue"], "rbac.aggregate": False})
    rights = set(USES[component])
    assert granted(objects, f"rel-anypod-{component}") == {"red": rights, "blue": rights}
    assert of_kind(objects, "ClusterRole") == of_kind(objects, "ClusterRoleBinding") == {}


def test_tokens_of_the_cluster_are_reviewed_only_when_asked_for() -> None:
    objects = rendered({"authentication.kubernetesTokens": True, "watchNamespaces": ["red"]})
    assert granted(objects, "rel-anypod-gateway")[""] == {
        "authentication.k8s.io tokenreviews create",
        "authorization.k8s.io subjectaccessreviews create",
    }


def test_nobody_else_has_any_right() -> None:
    objects = rendered({"authentication.kubernetesTokens": True})
    bound = {
        subject["name"]
        for each in objects
        if each["kind"].endswith("RoleBinding")
        for subject in each["subjects"]
    }
    assert bound == {"rel-anypod-gateway", "rel-anypod-operator"}
    assert set(of_kind(objects, "ServiceAccount")) == bound | {"rel-anypod-etcd"}


def test_people_get_pools_with_the_roles_they_have() -> None:
    roles = of_kind(rendered(), "ClusterRole")
    view, edit = roles["home-rel-anypod-view"], roles["home-rel-anypod-edit"]
    aggregated = "rbac.authorization.k8s.io/aggregate-to-"
    assert view["metadata"]["labels"][f"{aggregated}view"] == "true"
    assert edit["metadata"]["labels"][f"{aggregated}edit"] == "true"
    verbs = {right.rpartition(" ")[2] for right in each_right(view["rules"])}
    assert verbs == {"get", "list", "watch"}
    assert {rule["apiGroups"][0] for role in (view, edit) for rule in role["rules"]} == {
        "anypod.dev"
    }
