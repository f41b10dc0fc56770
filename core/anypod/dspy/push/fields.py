"""From a DSPy signature to the fields of a program: names, types as text, descriptions.

DSPy takes any type that pydantic knows; a program has those that need no import. What DSPy writes
where nothing was said, instructions and descriptions as ``${name}``, counts as nothing said.
"""

import dataclasses
import datetime as dt
import enum
import inspect
import types
from typing import Any, Literal, Union, get_args, get_origin

import dspy
from pydantic import BaseModel, RootModel
from pydantic.fields import FieldInfo

from anypod.dspy.push.refusals import Refusals
from anypod.dspy.push.state import as_json
from anypod.dspy.signatures import InvalidSignature, check_name
from anypod.dspy.types import allowed

_PLAIN: dict[Any, str] = {
    str: "str",
    int: "int",
    float: "float",
    bool: "bool",
    dt.date: "date",
    dt.datetime: "datetime",
    Any: "Any",
    list: "list",
    dict: "dict",
    None: "None",
    types.NoneType: "None",
    dspy.Image: "Image",
    dspy.History: "History",
}
_SPECIAL_ARGUMENTS = (
    *("alias", "validation_alias", "serialization_alias", "title", "examples", "exclude"),
    *("discriminator", "json_schema_extra"),
)
_HARMLESS_CONFIG = {"arbitrary_types_allowed", "extra", "frozen", "protected_namespaces"}


class Types:
    """Types as text; the own ones among them are found on the way."""

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals
        self._own: dict[str, type[BaseModel]] = {}
        self.definitions: dict[str, Any] = {}

    def text(self, annotation: Any, where: str) -> str:
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is None:
            return self._named(annotation, where)
        if origin is Literal:
            return self._literal(arguments, where)
        if origin in (Union, types.UnionType):
            return " | ".join(self.text(one, where) for one in arguments)
        if origin is dict and arguments and arguments[0] is not str:
            self._refusals.add(where, "the keys of a dict are str, as JSON has them")
        elif origin in (list, dict):
            inside = ", ".join(self.text(one, where) for one in arguments)
            return f"{origin.__name__}[{inside}]" if inside else origin.__name__
        else:
            self._unknown(annotation, where)
        return "Any"

    def _named(self, annotation: Any, where: str) -> str:
        for known, name in _PLAIN.items():
            if annotation is known:
                return name
        if _is_own(annotation):
            return self._of_own(annotation, where)
        self._unknown(annotation, where)
        return "Any"

    def _unknown(self, annotation: Any, where: str) -> None:
        name = getattr(annotation, "__name__", None) or str(annotation)
        to_do = f"there are {allowed()}, and own types made with pydantic.BaseModel"
        if isinstance(annotation, enum.EnumMeta):
            members: Any = annotation
            to_do = f"write Literal[{', '.join(repr(one.value) for one in members)}]"
        self._refusals.add(where, f"the type {name} is none that a program has", to_do)

    def _literal(self, values: tuple[Any, ...], where: str) -> str:
        if all(type(value) in (str, int, bool, types.NoneType) for value in values):
            return f"Literal[{', '.join(map(ascii, values))}]"
        to_do = "it takes strings, whole numbers, True, False and None"
        self._refusals.add(where, "a Literal has other values than a program's", to_do)
        return "Any"

    def _of_own(self, model: type[BaseModel], where: str) -> str:
        name = model.__name__
        known = self._own.setdefault(name, model)
        if known is not model:
            self._refusals.add(where, f"two types are called {name}", "give one another name")
        elif name not in self.definitions:
            self.definitions[name] = {}  # known from here on: a type may contain itself
            self._check_model(model)
            model.model_rebuild()
            fields = [self._own_field(name, *one) for one in model.model_fields.items()]
            about = inspect.cleandoc(model.__doc__ or "")
            self.definitions[name] = ({"description": about} if about else {}) | {"fields": fields}
        return name

    def _check_model(self, model: type[BaseModel]) -> None:
        name = model.__name__
        decorators = model.__pydantic_decorators__
        for found in sorted(
            one for kind in dataclasses.fields(decorators) for one in getattr(decorators, kind.name)
        ):
            self._refusals.add(
                f"{name}.{found}",
                "validators, serializers and computed fields stay here",
                "say in a description what must hold, or check it in a reward",
            )
        if model.__pydantic_custom_init__ or model.__pydantic_post_init__:
            what = "it has private attributes, or runs code of its own when it is made"
            self._refusals.add(name, what, "leave it a description of data")
        config = sorted(set(model.model_config) - _HARMLESS_CONFIG)
        if model.model_config.get("extra") == "allow":
            config.append("extra='allow'")
        for found in config:
            self._refusals.add(f"{name}.model_config", f"{found} has no place in a program")

    def _own_field(self, model: str, name: str, field: FieldInfo) -> dict[str, Any]:
        where = f"{model}.{name}"
        self._check_limits(where, field.metadata)
        if said := [one for one in _SPECIAL_ARGUMENTS if getattr(field, one)]:
            self._refusals.add(where, f"{', '.join(said)} has no place in a program")
        found = _field(name, self.text(field.annotation, where), field.description or "")
        return found | ({} if field.is_required() else self._default(field, where))

    def _default(self, field: FieldInfo, where: str) -> dict[str, Any]:
        if field.default_factory not in (None, list, dict):
            to_do = "give it a default that is a value"
            self._refusals.add(where, "what its default_factory makes is not known before", to_do)
            return {}
        default = field.get_default(call_default_factory=True, validated_data={})
        return {"default": as_json(default, where, "give it another default", self._refusals)}

    def _check_limits(self, where: str, limits: Any) -> None:
        if limits:
            to_do = "say it in the description, or check it in a reward"
            self._refusals.add(where, f"a type has no limits here, as {limits!s} is", to_do)

    def of_signature(self, name: str, field: FieldInfo, where: str) -> dict[str, str]:
        said: dict[str, Any] = field.json_schema_extra  # type: ignore[assignment]
        self._check_limits(where, said.get("constraints") or field.metadata)
        if not field.is_required():
            to_do = "take it away: what may be missing is of a type such as 'str | None'"
            self._refusals.add(where, "inputs and outputs have no default here", to_do)
        try:
            check_name(name)
        except InvalidSignature as wrong:
            self._refusals.add(where, str(wrong), "give the field another name")
        description = said["desc"] if said["desc"] != f"${{{name}}}" else ""
        return _field(name, self.text(field.annotation, where), description)


def _is_own(annotation: Any) -> bool:
    if not isinstance(annotation, type) or not issubclass(annotation, BaseModel):
        return False
    return not issubclass(annotation, dspy.Type | RootModel)


def _field(name: str, type_: str, description: str) -> dict[str, str]:
    found = {"name": name} if type_ == "str" else {"name": name, "type": type_}
    return found | ({"description": description} if description else {})


def instructions_of(signature: Any) -> str:
    """Empty when they are those that DSPy writes itself."""
    said: str = signature.instructions
    return "" if said == plain(signature, None).instructions else said


def plain(signature: Any, instructions: str | None) -> Any:
    """The same fields with nothing else said of them: as a worker makes it of a document."""
    fields: dict[str, Any] = {}
    sides = (
        (dspy.InputField, signature.input_fields),
        (dspy.OutputField, signature.output_fields),
    )
    for make, side in sides:
        for name, field in side.items():
            fields[name] = (field.annotation, make(desc=field.json_schema_extra["desc"]))
    return dspy.make_signature(fields, instructions)
