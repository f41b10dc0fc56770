"""From the canonical text of types to types that pydantic and DSPy know."""

import datetime as dt
import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union

import dspy
from msgspec import UNSET
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    create_model,
)

from anypod.dspy import spec, types
from anypod_worker.runtime.loading import invalid

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


def _is_data(image: dspy.Image) -> dspy.Image:
    if not image.url.startswith("data:image/"):
        raise ValueError("an image is given as a data URI, data:image/...: no address is fetched")
    return image


def _of_mark(value: Any) -> Any:
    """States and sessions of earlier versions have images as DSPy marks them."""
    found = _MARKED.fullmatch(value) if isinstance(value, str) else None
    return value if found is None else json.loads(found[1])


_MARKED = re.compile(
    r"<<CUSTOM-TYPE-START-IDENTIFIER>>"
    r'\[\{"type": "image_url", "image_url": (\{"url": "data:image/[^"\\]*"\})\}\]'
    r"<<CUSTOM-TYPE-END-IDENTIFIER>>"
)
_IMAGE = Annotated[dspy.Image, BeforeValidator(_of_mark), AfterValidator(_is_data)]
_GIVEN: dict[str, Any] = {**_PLAIN, "Image": _IMAGE}
"""As callers give them."""
_CONFIG = ConfigDict(extra="forbid", protected_namespaces=())

Own = dict[str, type[BaseModel]]


def own_types(definitions: Mapping[str, spec.OwnType]) -> Own:
    """The program's own, each after those that it is made of; there are no circles.

    Raises InvalidProgram for a default that does not fit.
    """
    made: Own = {}
    while len(made) < len(definitions):
        for name, definition in definitions.items():
            fields = definition.fields
            used = {one for field in fields for one in _names(field, definitions)}
            if name not in made and used <= made.keys():
                _check_defaults(f"types.{name}", fields, made)
                made[name] = model(name, fields, made, about=definition.description)
    return made


def _check_defaults(path: str, fields: Sequence[spec.TypeField], own: Own) -> None:
    for number, field in enumerate(fields):
        try:
            if field.default is not UNSET:
                TypeAdapter(of(field.type, own)).validate_python(field.default)
        except ValidationError as error:
            where = f"{path}.fields.{number}.default"
            raise invalid(f"{where}: {error.errors()[0]['msg']}", path=where) from None


def _names(field: spec.Field, own: Mapping[str, Any]) -> set[str]:
    return {name for name in types.names(types.parse(field.type, own)) if name in own}


def model(
    name: str, fields: Sequence[spec.Field], own: Own, *, given: bool = False, about: str = ""
) -> type[BaseModel]:
    """``given``: by a caller."""
    shown: dict[str, Any] = {
        field.name: (of(field.type, own, given=given), _shown(field)) for field in fields
    }
    made: type[BaseModel] = create_model(name, __config__=_CONFIG, __doc__=about or None, **shown)
    return made


def turn(fields: Sequence[spec.Field], own: Own) -> type[BaseModel]:
    """Of a conversation: some of these fields, and what else there may be, which is left out."""
    shown: dict[str, Any] = {
        field.name: (
            of(field.type, own, given=True),
            Field(default_factory=lambda: None, description=field.description or None),
        )
        for field in fields
    }
    config = ConfigDict(extra="ignore", protected_namespaces=())
    made: type[BaseModel] = create_model("Turn", __config__=config, **shown)
    return made


def said(turn: BaseModel) -> dict[str, Any]:
    """The fields that a turn has."""
    return {name: getattr(turn, name) for name in turn.model_fields_set}


def _shown(field: spec.Field) -> Any:
    default = getattr(field, "default", UNSET)
    return Field(
        ... if default is UNSET else default,
        description=field.description or None,
        validate_default=True,
    )


def is_seen(text: str, own: Own) -> bool:
    """Whether there are images in it; own types have none."""
    return "Image" in types.names(types.parse(text, own))


def read(value: Any, type_: Any) -> Any:
    """As the type has it, or as it is if it does not fit."""
    try:
        return TypeAdapter(type_).validate_python(value)
    except ValidationError:
        return value


def first_error(error: ValidationError, path: str) -> tuple[str, str]:
    """Where it is, in the value that ``path`` leads to, and what is wrong there."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return ".".join([path, *map(str, first["loc"])]), first["msg"]


def of(text: str, own: Own, *, given: bool = False) -> Any:
    return _of(types.parse(text, own), {**(_GIVEN if given else _PLAIN), **own})


def _of(type_: types.Type, named: Mapping[str, Any]) -> Any:
    match type_:
        case types.OneOf():
            return Literal[type_.values]
        case types.Union(members):
            return Union[tuple(_of(member, named) for member in members)]  # noqa: UP007
        case types.Named("list", (item,)):
            return list[_of(item, named)]  # type: ignore[misc]
        case types.Named("dict", (_, value)):
            return dict[str, _of(value, named)]  # type: ignore[misc]
    assert isinstance(type_, types.Named)
    return named[type_.name]
