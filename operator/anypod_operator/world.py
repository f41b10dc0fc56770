"""What watches have told: pools' versions, children, and pods, by pool.

A cache that may lag, and is healed by ``replace`` with a complete list now and then. It triggers
looks; whether a pool exists and what it wants is always read from the API itself.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from anypod.resources.names import MANAGER, POOL_LABEL
from anypod_operator.kinds import POD, POOL, Kind, Raw
from anypod_operator.pools import PoolKey

Name = tuple[str, str]
"""Namespace and name."""

_DIGEST = "sha256"
_APPLIED = "anypod.applied"
"""Beside an object's metadata: what is left of its managedFields."""

_POD_STATUS = (
    "conditions",
    "containerStatuses",
    "initContainerStatuses",
    "message",
    "phase",
    "podIP",
    "reason",
)


class World:
    def __init__(self, changed: Callable[[PoolKey], None]) -> None:
        self._changed = changed
        self._objects: dict[Kind, dict[Name, Raw]] = {}
        self._pods: dict[PoolKey, dict[str, Raw]] = {}

    def note(self, kind: Kind, type_: str | None, raw: Raw) -> None:
        """One event of a watch."""
        if self._is_old(kind, raw):
            return
        if type_ == "DELETED":
            self._drop(kind, _name(raw))
        else:
            self._put(kind, raw)
        self._tell(kind, raw)

    def _is_old(self, kind: Kind, raw: Raw) -> bool:
        seen = self._objects.get(kind, {}).get(_name(raw))
        return seen is not None and _version(seen) > _version(raw)

    def replace(
        self, kind: Kind, namespace: str | None, listed: Iterable[Raw], version: str
    ) -> list[Name]:
        """Make it as a list of all says, but for what is newer than the list; what had to be."""
        found = {_name(raw): raw for raw in listed}
        known = self._objects.setdefault(kind, {})
        healed = []
        for name, raw in found.items():
            seen = known.get(name)
            if seen is None or _version(seen) < _version(raw):
                self._put(kind, raw)
                self._tell(kind, raw)
                healed.append(name)
        for name, raw in list(known.items()):
            here = namespace is None or name[0] == namespace
            if here and name not in found and _version(raw) <= int(version):
                self._drop(kind, name)
                self._tell(kind, raw)
                healed.append(name)
        return healed

    def keep(self, kind: Kind, raw: Raw) -> None:
        """What an answer of the API showed, unless a watch has told something newer."""
        if not self._is_old(kind, raw):
            self._put(kind, raw)

    def lost(self, kind: Kind, namespace: str, name: str) -> None:
        """The API says that it is not there."""
        self._drop(kind, (namespace, name))

    def lose_namespace(self, namespace: str) -> list[tuple[Kind, Name]]:
        """It may not be read any more; what was known of it."""
        lost = [
            (kind, name)
            for kind, known in self._objects.items()
            for name in known
            if name[0] == namespace
        ]
        pools = [PoolKey(*name) for kind, name in lost if kind is POOL]
        for kind, name in lost:
            self._drop(kind, name)
        for key in pools:
            self._changed(key)
        return lost

    def get(self, kind: Kind, namespace: str, name: str) -> Raw | None:
        return self._objects.get(kind, {}).get((namespace, name))

    def pools(self) -> list[PoolKey]:
        return [PoolKey(*name) for name in self._objects.get(POOL, {})]

    def pods(self, key: PoolKey) -> list[Raw]:
        """Oldest first."""
        pods = self._pods.get(key, {}).values()
        return sorted(pods, key=lambda pod: (pod["metadata"]["creationTimestamp"], _name(pod)))

    def _put(self, kind: Kind, raw: Raw) -> None:
        self._drop(kind, _name(raw))
        slim = _slim(kind, raw)
        self._objects.setdefault(kind, {})[_name(raw)] = slim
        key = pool_of(raw)
        if kind is POD and key is not None:
            self._pods.setdefault(key, {})[raw["metadata"]["name"]] = slim

    def _drop(self, kind: Kind, name: Name) -> None:
        old = self._objects.get(kind, {}).pop(name, None)
        key = None if old is None or kind is not POD else pool_of(old)
        if key in self._pods:
            self._pods[key].pop(name[1], None)
            if not self._pods[key]:
                del self._pods[key]

    def _tell(self, kind: Kind, raw: Raw) -> None:
        key = PoolKey(*_name(raw)) if kind is POOL else pool_of(raw)
        if key is not None:
            self._changed(key)


def pool_of(child: Raw) -> PoolKey | None:
    """By its owner; pods, which a ReplicaSet owns, by their label."""
    metadata = child["metadata"]
    for owner in metadata.get("ownerReferences", []):
        if owner["kind"] == POOL.kind:
            return PoolKey(metadata["namespace"], owner["name"])
    name = metadata.get("labels", {}).get(POOL_LABEL)
    return None if name is None else PoolKey(metadata["namespace"], name)


def was_applied(raw: Raw) -> bool:
    """Whether we made the object what it is: the API remembers who did."""
    metadata = raw["metadata"]
    managers = (one.get("manager") for one in metadata.get("managedFields", []))
    return bool(metadata.get(_APPLIED)) or MANAGER in managers


def _name(raw: Raw) -> Name:
    return raw["metadata"]["namespace"], raw["metadata"]["name"]


def _version(raw: Raw) -> int:
    """Of all objects of a kind, newer is more: Kubernetes promises it since 1.35, etcd ever did."""
    return int(raw["metadata"]["resourceVersion"])


def _slim(kind: Kind, raw: Raw) -> Raw:
    """Without what nobody here asks for, and without any secret."""
    metadata: dict[str, Any] = {k: v for k, v in raw["metadata"].items() if k != "managedFields"}
    metadata[_APPLIED] = was_applied(raw)
    if kind is POD:
        status: Mapping[str, Any] = raw.get("status", {})
        return {
            "metadata": metadata,
            "spec": {"nodeName": raw.get("spec", {}).get("nodeName", "")},
            "status": {name: status[name] for name in _POD_STATUS if name in status},
        }
    if kind is POOL:
        return {"metadata": metadata}
    rest = {k: v for k, v in raw.items() if k != "metadata"}
    return {"metadata": metadata, **veiled(rest)}


def veiled(raw: Raw) -> Raw:
    """A Secret's data only by its digest, which tells whether somebody has edited it."""
    data = raw.get("data")
    if data is None or _DIGEST in data:
        return raw
    text = json.dumps(data, sort_keys=True).encode()
    return {**raw, "data": {_DIGEST: hashlib.sha256(text).hexdigest()}}
