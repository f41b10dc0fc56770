"""A WorkerPool of the API, as the operator works with it."""

from dataclasses import dataclass
from typing import NamedTuple

from pydantic import ValidationError

from anypod.resources import served
from anypod.resources.workerpool import WorkerPoolSpec
from anypod_operator.kinds import POOL, Raw


class PoolKey(NamedTuple):
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class InvalidPool(ValueError):
    """The API server let pass what the models refuse: its CRD is not of this operator's version."""


class NameTaken(Exception):
    """An object of this name is there already, and is not the pool's."""


class NotYet(Exception):
    """What a deleted pool of this name left behind must be gone first."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The pool that children belong to."""

    key: PoolKey
    uid: str
    generation: int

    def reference(self) -> Raw:
        return {
            "apiVersion": POOL.api_version,
            "kind": POOL.kind,
            "name": self.key.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


@dataclass(frozen=True, slots=True)
class Pool:
    owner: Owner
    spec: WorkerPoolSpec
    unknown: tuple[str, ...] = ()
    """Fields of a newer custom resource, which the operator of its version will heed."""

    @property
    def name(self) -> str:
        return self.owner.key.name

    @property
    def namespace(self) -> str:
        return self.owner.key.namespace


def key_of(raw: Raw) -> PoolKey:
    return PoolKey(raw["metadata"]["namespace"], raw["metadata"]["name"])


def owner_of(raw: Raw) -> Owner:
    metadata = raw["metadata"]
    return Owner(key_of(raw), metadata["uid"], metadata.get("generation", 0))


def parse(raw: Raw) -> Pool:
    """Raises InvalidPool."""
    try:
        manifest, unknown = served.read(raw)
    except ValidationError as invalid:
        first, *more = invalid.errors()
        where = ".".join(str(part) for part in first["loc"])
        others = f" (and {len(more)} more)" if more else ""
        raise InvalidPool(f"{where}: {first['msg']}{others}") from None
    return Pool(owner_of(raw), manifest.spec, unknown)
