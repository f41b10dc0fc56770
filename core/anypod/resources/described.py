"""The models as data: each field with its text, type, default and bounds.

The CRD and the reference are both made of this, when they are generated; nothing here runs in a
service.
"""

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, StringConstraints
from pydantic.fields import FieldInfo

from anypod.resources.fields import parse_quantity, parse_share
from anypod.resources.texts import texts

_BOUNDS = ("gt", "ge", "le", "pattern", "min_length", "max_length")
_SIZES = ((2**30, "Gi"), (2**20, "Mi"), (2**10, "Ki"))
Kind = Literal["object", "list", "map", "anything", "choice", "quantity", "share", "plain"]


@dataclass(frozen=True)
class Shape:
    """A type with its bounds."""

    kind: Kind
    type: Any = None
    """The model, the choices, or the plain Python type."""
    items: "Shape | None" = None
    """Of a list or a map."""
    bounds: tuple[tuple[str, Any], ...] = ()

    def bound(self, name: str) -> Any:
        return dict(self.bounds).get(name)


@dataclass(frozen=True)
class Described:
    name: str
    text: str
    shape: Shape
    required: bool
    has_default: bool
    default: Any
    """As it stands in a manifest."""
    format: str = ""


def fields(model: type[BaseModel]) -> Iterator[Described]:
    said = texts(model)
    for name, field in model.model_fields.items():
        shape = _shape(field.annotation, field.metadata)
        yield Described(
            name=field.alias or name,
            text=" ".join(said.get(name, "").split()),
            shape=shape,
            required=field.is_required(),
            has_default=not field.is_required() and field.default is not None,
            default=None if field.is_required() else _written(field.default, shape),
            format=_format(field),
        )


def quantity(value: int) -> str:
    """As a person would write it."""
    return next(
        (f"{value // n}{unit}" for n, unit in _SIZES if value and not value % n), str(value)
    )


def _shape(annotation: Any, metadata: Any = ()) -> Shape:
    metadata = list(metadata)
    if get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        return _shape(annotation, [*more, *metadata])
    if get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation):
        (only,) = (one for one in get_args(annotation) if one is not type(None))
        return _shape(only, metadata)
    kind, type_, items = _kind(annotation, metadata)
    return Shape(kind, type_, items, tuple(sorted(_bounds(metadata).items())))


def _kind(annotation: Any, metadata: list[Any]) -> tuple[Kind, Any, Shape | None]:
    validators = {getattr(one, "func", None) for one in metadata}
    if parse_quantity in validators:
        return "quantity", int, None
    if parse_share in validators:
        return "share", int, None
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "object", annotation, None
    if get_origin(annotation) is Literal:
        return "choice", get_args(annotation), None
    if get_origin(annotation) is list:
        return "list", list, _shape(get_args(annotation)[0])
    if get_origin(annotation) is dict:
        value = get_args(annotation)[1]
        return ("anything", dict, None) if value is Any else ("map", dict, _shape(value))
    assert annotation in (str, int, float, bool), annotation
    return "plain", annotation, None


def _bounds(metadata: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in metadata:
        if isinstance(one, FieldInfo):
            found |= _bounds(one.metadata)
            continue
        names = _BOUNDS if not isinstance(one, StringConstraints) else _BOUNDS[3:]
        found |= {n: v for n in names if (v := getattr(one, n, None)) is not None}
    return found


def _written(value: Any, shape: Shape) -> Any:
    if shape.kind == "quantity":
        return quantity(value)
    if shape.kind == "object" and isinstance(value, BaseModel):
        return {}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _format(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    return str(extra["format"]) if isinstance(extra, dict) and "format" in extra else ""
