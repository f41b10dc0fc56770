"""Parts of a pod's spec laid over each other: what the operator sets lies over what the user says.

Objects are merged field by field; lists whose items have a key (containers by name, mounts by path)
item by item; everything else is replaced as a whole.
"""

from typing import Any

from anypod_operator.kinds import Raw

_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumes": "name",
}

_WHOLE = frozenset(
    {"capabilities", "livenessProbe", "readinessProbe", "seccompProfile", "startupProbe"}
)
"""Objects of which half of one and half of another makes no sense."""

_WHOLE_ITEMS = frozenset({"env", "ports", "volumeMounts", "volumes"})


class BadTemplate(ValueError):
    """The template has another shape than a pod's spec has."""


def lay_over(under: Raw, over: Raw, path: str = "spec.template.spec") -> Raw:
    """A new object; ``over`` wins, and its None takes a field away. Raises BadTemplate."""
    merged = dict(under)
    for name, value in over.items():
        there = under.get(name)
        if value is None:
            merged.pop(name, None)
        elif name in _WHOLE or (there is None and not isinstance(value, dict)):
            merged[name] = value
        else:
            merged[name] = _merge(name, {} if there is None else there, value, f"{path}.{name}")
    return merged


def _merge(name: str, under: Any, over: Any, path: str) -> Any:
    if isinstance(over, dict):
        if not isinstance(under, dict):
            raise BadTemplate(f"{path} must be an object")
        return lay_over(under, over, path)
    if isinstance(over, list) and name in _KEYS:
        return _merge_items(name, under, over, path)
    return over


def _merge_items(name: str, under: Any, over: list[Any], path: str) -> list[Raw]:
    key = _KEYS[name]
    found = _by_key(under, key, path)
    for value, item in _by_key(over, key, path).items():
        if value in found and name not in _WHOLE_ITEMS:
            found[value] = lay_over(found[value], item, f"{path}[{value}]")
        else:
            found.pop(value, None)
            found[value] = item
    return list(found.values())


def _by_key(items: Any, key: str, path: str) -> dict[Any, Raw]:
    if not isinstance(items, list):
        raise BadTemplate(f"{path} must be a list")
    found: dict[Any, Raw] = {}
    for number, item in enumerate(items):
        value = item.get(key) if isinstance(item, dict) else None
        if not isinstance(value, str | int):
            raise BadTemplate(f"{path}[{number}] must be an object with {key}")
        if value in found:
            raise BadTemplate(f"{path}[{number}]: {key} {value!r} stands twice")
        found[value] = item
    return found
