"""What Kubernetes is asked about a caller, and what its answers mean. Pure.

A TokenReview says whose token it is; a SubjectAccessReview says whether its user may do something.
Our verbs are subresources of a WorkerPool, so roles name them as they name ``pods/exec``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anypod.resources.workerpool import API_VERSION
from anypod_gateway.callers.rights import Verb

Raw = Mapping[str, Any]

TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"  # noqa: S105 - a path
ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"

KUBERNETES_VERBS: Mapping[Verb, str] = {
    "read": "get",
    "run": "create",
    "write": "create",
    "admin": "create",
}
_GROUP, _, _VERSION = API_VERSION.partition("/")
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class User:
    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def shown(self) -> str:
        """The name as one word of a log line, whatever its provider allows."""
        name = self.name.encode("ascii", "backslashreplace").decode("ascii")
        return "".join(one if one.isprintable() and one != " " else "?" for one in name)[
            :_LONGEST_NAME
        ]


def token_review(token: str, audience: str) -> dict[str, Any]:
    spec: dict[str, Any] = {"token": token}
    if audience:
        spec["audiences"] = [audience]
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}


def user_of(answer: Raw, audience: str) -> User | None:
    """None for a token that is none, or that was made for somebody else."""
    status = answer.get("status") or {}
    if status.get("authenticated") is not True:
        return None
    if audience and audience not in (status.get("audiences") or ()):
        # A server that knows nothing of audiences has not looked at this one.
        return None
    user = status.get("user") or {}
    name = user.get("username")
    if not isinstance(name, str) or not name:
        return None
    extra = user.get("extra") or {}
    return User(
        name=name,
        uid=user.get("uid") or "",
        groups=tuple(user.get("groups") or ()),
        extra=tuple(sorted((key, tuple(values)) for key, values in extra.items())),
    )


def access_review(user: User, verb: Verb, namespace: str, pool: str) -> dict[str, Any]:
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user.name,
            "uid": user.uid,
            "groups": list(user.groups),
            "extra": {key: list(values) for key, values in user.extra},
            "resourceAttributes": {
                "namespace": namespace,
                "verb": KUBERNETES_VERBS[verb],
                "group": _GROUP,
                "version": _VERSION,
                "resource": "workerpools",
                "subresource": verb,
                "name": pool,
            },
        },
    }


def is_allowed(answer: Raw) -> bool:
    status = answer.get("status") or {}
    return status.get("allowed") is True and status.get("denied") is not True
