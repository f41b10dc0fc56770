"""What Kubernetes' answers mean: only a clear yes is one."""

from typing import Any

import pytest

from anypod_gateway.callers import reviews
from anypod_gateway.callers.reviews import User
from anypod_gateway.callers.rights import VERBS

ADA = {"authenticated": True, "user": {"username": "ada", "uid": "1", "groups": ["g"]}}


@pytest.mark.parametrize(
    ("status", "audience", "name"),
    [
        (ADA, "", "ada"),
        (ADA | {"audiences": ["anypod"]}, "anypod", "ada"),
        (ADA | {"audiences": ["api"]}, "anypod", None),
        (ADA, "anypod", None),
        (ADA | {"authenticated": False}, "", None),
        (ADA | {"authenticated": "true"}, "", None),
        ({"user": ADA["user"]}, "", None),
        ({"authenticated": True}, "", None),
        ({"authenticated": True, "user": {"username": ""}}, "", None),
        ({}, "", None),
        (None, "", None),
    ],
)
def test_a_user_is_one_whom_kubernetes_names(status: Any, audience: str, name: str | None) -> None:
    found = reviews.user_of({"status": status}, audience)
    assert (found.name if found is not None else None) == name


@pytest.mark.parametrize(
    ("status", "allowed"),
    [
        ({"allowed": True}, True),
        ({"allowed": True, "denied": True}, False),
        ({"allowed": False}, False),
        ({"allowed": "yes"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_access_is_what_kubernetes_allows(status: Any, allowed: bool) -> None:
    assert reviews.is_allowed({"status": status}) is allowed


def test_every_verb_is_a_subresource_of_a_pool() -> None:
    user = User("ada", "1", ("g",), (("scopes", ("a", "b")),))
    for verb in VERBS:
        spec = reviews.access_review(user, verb, "ns", "p")["spec"]
        assert spec["user"] == "ada"
        assert spec["groups"] == ["g"]
        assert spec["extra"] == {"scopes": ["a", "b"]}
        asked = spec["resourceAttributes"]
        assert asked["verb"] == reviews.KUBERNETES_VERBS[verb]
        assert (asked["group"], asked["resource"], asked["subresource"]) == (
            "anypod.dev",
            "workerpools",
            verb,
        )
        assert (asked["namespace"], asked["name"]) == ("ns", "p")


def test_an_audience_is_asked_for_only_when_there_is_one() -> None:
    assert "audiences" not in reviews.token_review("t", "")["spec"]
    assert reviews.token_review("t", "anypod")["spec"]["audiences"] == ["anypod"]


def test_a_users_name_is_one_word_of_a_log_line() -> None:
    assert User("system:serviceaccount:ns:ci").shown == "system:serviceaccount:ns:ci"
    shown = User("Ada Ł\n2026 GET /x 200").shown
    assert shown.isascii()
    assert " " not in shown
    assert "\n" not in shown
    assert len(User("x" * 5000).shown) == 200
