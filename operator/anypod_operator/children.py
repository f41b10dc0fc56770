"""One child brought to what is wanted of it, or left alone when it is that already.

Whether it is, is told without a comparison of fields, which the server fills in and rewrites: we
remember what we applied and what came of it. Anything else is applied again, which is harmless.
"""

import hashlib
import json
from typing import Literal, NamedTuple

from anypod.resources import names
from anypod_operator.api import Api
from anypod_operator.api_errors import NotFound, Refused
from anypod_operator.kinds import BY_NAME, Kind, Raw
from anypod_operator.pools import NameTaken, NotYet, Pool, PoolKey
from anypod_operator.world import World, veiled, was_applied

What = Literal["", "created", "changed", "restored", "repaired"]
"""``restored``: somebody had deleted it. ``repaired``: somebody had edited it.

Both are said only of what we know to have applied: after a start of ours, what is there may be what
was wanted before it.
"""


class _Done(NamedTuple):
    wanted: str
    result: str


class Children:
    def __init__(self, api: Api, world: World) -> None:
        self._api = api
        self._world = world
        self._done: dict[PoolKey, dict[Kind, _Done]] = {}
        self._refused: dict[PoolKey, dict[Kind, tuple[str, Refused]]] = {}

    def forget(self, key: PoolKey) -> None:
        """The pool is gone, or is another."""
        self._done.pop(key, None)
        self._refused.pop(key, None)

    def try_refused_again(self) -> None:
        """What the server refused may have been a rule that is no more."""
        self._refused.clear()

    async def ensure(self, pool: Pool, wanted: Raw) -> What:
        """Raises ApiError, NameTaken, NotYet."""
        kind, key = BY_NAME[wanted["kind"]], pool.owner.key
        seen = await self._present(kind, wanted)
        if seen is not None:
            check_ours(pool, kind, seen)
        wanted_digest = digest(wanted)
        done = self._done.get(key, {}).get(kind)
        if done is not None and seen is not None and done[:2] == (wanted_digest, fingerprint(seen)):
            return ""
        self._raise_if_refused(key, kind, wanted_digest)
        try:
            result = await self._api.apply(wanted)
        except Refused as refused:
            refused.kind = kind.kind
            self._refused.setdefault(key, {})[kind] = (wanted_digest, refused)
            raise
        self._world.keep(kind, result)
        self._remember(key, kind, _Done(wanted_digest, fingerprint(result)))
        return _what(done, wanted_digest, seen, result)

    async def _present(self, kind: Kind, wanted: Raw) -> Raw | None:
        """As the watch has it; what it has not is asked for, lest we take over somebody else's."""
        namespace, name = wanted["metadata"]["namespace"], wanted["metadata"]["name"]
        seen = self._world.get(kind, namespace, name)
        if seen is None:
            try:
                seen = await self._api.get(kind, namespace, name)
            except NotFound:
                return None
            if is_marked(seen):
                self._world.keep(kind, seen)  # of others no watch tells
        return seen

    def _remember(self, key: PoolKey, kind: Kind, done: _Done) -> None:
        self._done.setdefault(key, {})[kind] = done
        self._refused.get(key, {}).pop(kind, None)

    def _raise_if_refused(self, key: PoolKey, kind: Kind, wanted: str) -> None:
        """What was refused is not sent again unless it has changed."""
        before, refused = self._refused.get(key, {}).get(kind, ("", None))
        if before == wanted and refused is not None:
            raise refused


def check_ours(pool: Pool, kind: Kind, seen: Raw) -> None:
    """Raises NameTaken, NotYet."""
    what = f"{kind.kind} {seen['metadata']['name']}"
    controllers = [o for o in seen["metadata"].get("ownerReferences", []) if o.get("controller")]
    if not controllers:
        if was_applied(seen):
            return
        raise NameTaken(f"there is a {what} already, which is not this pool's; delete or rename it")
    (controller,) = controllers
    if controller["uid"] == pool.owner.uid:
        if "deletionTimestamp" in seen["metadata"]:
            raise NotYet(f"{what} is being deleted")
        return
    if (controller["kind"], controller["name"]) == ("WorkerPool", pool.name):
        raise NotYet(f"{what} of the pool's predecessor is still there")
    owner = f"{controller['kind']} {controller['name']}"
    raise NameTaken(f"there is a {what} already, which belongs to {owner}; delete or rename it")


def is_marked(raw: Raw) -> bool:
    """Whether the watch of our objects has it."""
    return bool(raw["metadata"].get("labels", {}).get(names.MANAGER_LABEL) == names.MANAGER)


def fingerprint(raw: Raw) -> str:
    """Changes when anybody changes what is wanted of an object, and not when its status does."""
    metadata = {
        name: raw["metadata"].get(name)
        for name in ("uid", "labels", "ownerReferences", "finalizers")
    }
    annotations = dict(raw["metadata"].get("annotations", {}))
    annotations.pop("deployment.kubernetes.io/revision", None)
    rest = {k: v for k, v in raw.items() if k not in ("metadata", "status", "kind", "apiVersion")}
    return digest({"metadata": metadata, "annotations": annotations, **veiled(rest)})


def digest(value: Raw) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _what(done: _Done | None, wanted: str, seen: Raw | None, result: Raw) -> What:
    # Not by its version: meanwhile a controller may have told how it is.
    if seen is not None and fingerprint(seen) == fingerprint(result):
        return ""
    if seen is None:
        return "created" if done is None else "restored"
    edited = done is not None and done.wanted == wanted
    return "repaired" if edited else "changed"
