"""From the canonical text of types to types that pydantic and DSPy know."""

import datetime as dt
from collections.abc import Mapping
from typing import Any, Literal, Union

import dspy
from pydantic import BaseModel, ConfigDict, Field, create_model

from anypod.dspy import spec, types

_PLAIN: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "date": dt.date,
    "datetime": dt.datetime,
    "Any": Any,
    "list": list[Any],
    "dict": dict[str, Any],
    "None": None,
    "Image": dspy.Image,
    "History": dspy.History,
}
_CONFIG = ConfigDict(extra="forbid", protected_namespaces=())

Own = dict[str, type[BaseModel]]


def own_types(definitions: Mapping[str, spec.OwnType]) -> Own:
    """The program's own, each after those that it is made of; there are no circles."""
    made: Own = {}
    while len(made) < len(definitions):
        for name, definition in definitions.items():
            fields = definition.fields
            used = {one for field in fields for one in _names(field, definitions)}
            if name not in made and used <= made.keys():
                made[name] = model(name, fields, made)
    return made


def _names(field: spec.Field, own: Mapping[str, Any]) -> set[str]:
    return {name for name in types.names(types.parse(field.type, own)) if name in own}


def model(name: str, fields: list[spec.Field], own: Own) -> type[BaseModel]:
    shown: dict[str, Any] = {
        field.name: (of(field.type, own), Field(description=field.description or None))
        for field in fields
    }
    made: type[BaseModel] = create_model(name, __config__=_CONFIG, **shown)
    return made


def of(text: str, own: Own) -> Any:
    return _of(types.parse(text, own), own)


def _of(type_: types.Type, own: Own) -> Any:
    match type_:
        case types.OneOf():
            return Literal[type_.values]
        case types.Union(members):
            return Union[tuple(_of(member, own) for member in members)]  # noqa: UP007
        case types.Named("list", (item,)):
            return list[_of(item, own)]  # type: ignore[misc]
        case types.Named("dict", (_, value)):
            return dict[str, _of(value, own)]  # type: ignore[misc]
    assert isinstance(type_, types.Named)
    return own[type_.name] if type_.name in own else _PLAIN[type_.name]
