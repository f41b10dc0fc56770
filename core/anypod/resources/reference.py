"""The reference of WorkerPool's fields, ``docs/workerpool.md``, made of the models."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from anypod.resources.described import Described, Shape, fields, quantity
from anypod.resources.status import WorkerPoolStatus
from anypod.resources.workerpool import WorkerPoolSpec

_SIGNS = {"gt": ">", "ge": "≥", "le": "≤"}
_HEAD = """\
# WorkerPool

`anypod.dev/v1alpha1`, kind `WorkerPool`, short name `wp`.
[`examples/pool.yaml`](../examples/pool.yaml) is one. This page is generated from the models that
check manifests (`make crds`); `kubectl explain wp.spec` says the same.

A name has lower case letters, digits and `-`, begins with a letter, and has at most 40 characters.
Sizes are bytes, or quantities: `512Mi`, `1Gi`, `100k`. A field that does not exist is an error.
Rules that concern several fields are below the table.
"""


def page() -> str:
    return "\n".join(
        [
            _HEAD,
            "## spec",
            "",
            *_table(WorkerPoolSpec, "spec field"),
            "",
            "## Rules",
            "",
            *(f"- `{path}`: {message}." for path, message in _rules(WorkerPoolSpec)),
            "",
            "## status",
            "",
            *_table(WorkerPoolStatus, "status field", defaults=False),
            "",
        ]
    )


def _table(model: type[BaseModel], heading: str, *, defaults: bool = True) -> Iterator[str]:
    yield f"| {heading} | default | allowed | meaning |" if defaults else f"| {heading} | meaning |"
    yield "| --- | --- | --- | --- |" if defaults else "| --- | --- |"
    for path, field in _rows(model):
        text = field.text.replace("|", "\\|")
        if defaults:
            yield f"| `{path}` | {_default(field)} | {_allowed(field.shape)} | {text} |"
        else:
            yield f"| `{path}` | {text} |"


def _rows(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Described]]:
    """Depth first; an object of which every part has a row has none itself."""
    for field in fields(model):
        path, inner = f"{prefix}{field.name}", field.shape
        if inner.kind == "list" and inner.items is not None and inner.items.kind == "object":
            yield path, field
            path, inner = f"{path}[]", inner.items
        elif inner.kind != "object" or not field.has_default:
            yield path, field
        if inner.kind == "object":
            yield from _rows(inner.type, f"{path}.")


def _default(field: Described) -> str:
    if field.required:
        return "required"
    if not field.has_default or field.default == "":
        return ""
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    return f"`{field.default}`"


def _allowed(shape: Shape) -> str:
    if shape.kind == "choice":
        return ", ".join(f"`{one}`" for one in shape.type)
    if shape.kind == "share":
        return "a number, or `0%` to `100%`"
    numbers = (
        [
            f"{_SIGNS[name]} {_number(shape, value)}"
            for name, value in sorted(shape.bounds, key=lambda bound: list(_SIGNS).index(bound[0]))
            if name in _SIGNS
        ]
        if all(name in _SIGNS for name, _ in shape.bounds)
        else []
    )
    most = shape.bound("max_length")
    if most is not None:
        what = "items" if shape.kind in ("list", "map") else "characters"
        numbers.append(f"≤ {most} {what}")
    return ", ".join(numbers)


def _number(shape: Shape, value: Any) -> str:
    if shape.kind == "quantity":
        return quantity(value)
    return str(value).removesuffix(".0")


def _rules(model: type[BaseModel], prefix: str = "spec") -> Iterator[tuple[str, str]]:
    for rule in getattr(model, "RULES", ()):
        yield prefix, rule.message
    for field in fields(model):
        path, inner = f"{prefix}.{field.name}", field.shape
        if inner.kind == "list" and inner.items is not None:
            path, inner = f"{path}[]", inner.items
        if inner.kind == "object":
            yield from _rules(inner.type, path)
