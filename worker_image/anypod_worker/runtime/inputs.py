"""From the JSON object of inputs to the arguments of an entry function.

A function without annotations receives the members of the object as they are; else pydantic makes
of them what the annotations say, by its rules for JSON.
"""

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from anypod.session import Absent, Session
from anypod.wire import strict_json
from anypod.wire.messages import Failure
from anypod_worker.kinds.given import Given
from anypod_worker.runtime import failures
from anypod_worker.runtime.annotations import Parameter, Signature

OTHERS = ""
"""Alias of the model's field for ``**kwargs``: no parameter can have this name."""

_MAX_ERRORS = 50


class Rejected(Exception):
    """The inputs are not what the program takes; ``failure`` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass
class Plan:
    """How the inputs of one program become the arguments of its entry function."""

    signature: Signature
    names: frozenset[str]
    required: frozenset[str]
    fields: dict[str, str]
    """Name of a field of the model → name of the parameter."""
    model: type[BaseModel] | None
    """None: the inputs are passed as they are."""

    @property
    def waits(self) -> bool:
        return self.signature.waits

    def bind(
        self, inputs: bytes, session: Session | None, _given: Given | None = None
    ) -> Arguments:
        """Raises Rejected, and what validators of the program raise."""
        values = parsed(inputs)
        if self.signature.others is None:
            if not self.names.issuperset(values):
                raise _unknown(values, self.names)
        elif self.signature.session is not None and "session" in values:
            raise _unknown(values, set(values) - {"session"})
        if not self.required <= values.keys():
            raise _missing(values, self.required)
        if self.model is not None:
            values = self._validated(self.model, inputs, values)
        if self.signature.session is not None:
            _pass_session(values, self.signature.session, session)
        if not self.signature.positional:
            return (), values
        return _positional(self.signature.positional, values), values

    def _validated(
        self, model: type[BaseModel], inputs: bytes, values: dict[str, Any]
    ) -> dict[str, Any]:
        if self.signature.others is not None:
            values = _grouped(values, self.names)
            inputs = json.dumps(values).encode()
        valid = validated(model, inputs, values)
        given = valid.model_fields_set
        found = vars(valid)
        result = {name: found[field] for field, name in self.fields.items() if field in given}
        result.update(result.pop(OTHERS, {}))
        return result


def parsed(inputs: bytes) -> dict[str, Any]:
    try:
        values = strict_json.loads(inputs)
    except strict_json.InvalidJson as error:
        detail = failures.clean(f"the inputs are not valid JSON: {error}")
        raise Rejected(Failure(type="bad-request", detail=detail, path="inputs")) from None
    if type(values) is not dict:
        detail = f"the inputs must be a JSON object, not {_json_type(values)}"
        raise Rejected(Failure(type="bad-request", detail=detail, path="inputs"))
    return values


def _json_type(value: Any) -> str:
    names = {str: "a string", list: "an array", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def refused(path: str, message: str) -> Rejected:
    return _refused([_error(path, message)])


def _refused(errors: list[dict[str, str]]) -> Rejected:
    detail = "; ".join(f"{each['path']}: {each['message']}" for each in errors[:3])
    if len(errors) > 3:
        detail += f"; and {len(errors) - 3} more"
    path = errors[0]["path"] if errors else None
    return Rejected(
        Failure(type="invalid-inputs", detail=failures.clean(detail), path=path, errors=errors)
    )


def _error(path: str, message: str) -> dict[str, str]:
    return {"path": failures.clean(path, 500), "message": failures.clean(message, 1000)}


def _unknown(values: Mapping[str, Any], names: Set[str]) -> Rejected:
    takes = ", ".join(sorted(names)[:30]) or "nothing"
    message = f"the program has no such input; it takes: {takes}"
    unknown = [name for name in values if name not in names][:_MAX_ERRORS]
    return _refused([_error(f"inputs.{name}", message) for name in unknown])


def _missing(values: Mapping[str, Any], required: frozenset[str]) -> Rejected:
    missing = sorted(required - values.keys())[:_MAX_ERRORS]
    return _refused([_error(f"inputs.{name}", "this input is required") for name in missing])


def _message(error: ErrorDetails) -> str:
    if error["type"] == "missing":
        return "this field is required"
    return error["msg"]


def _invalid_inputs(error: ValidationError) -> Rejected:
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return _refused(
        [
            _error(".".join(["inputs", *(str(part) for part in each["loc"] if part != OTHERS)]),
                   _message(each))
            for each in details[:_MAX_ERRORS]
        ]
    )  # fmt: skip


def validated(model: type[BaseModel], inputs: bytes, values: dict[str, Any]) -> BaseModel:
    """Raises Rejected."""
    try:
        return _validate(model, inputs, values)
    except ValidationError as error:
        raise _invalid_inputs(error) from None


def _validate(model: type[BaseModel], inputs: bytes, values: dict[str, Any]) -> BaseModel:
    """By pydantic's rules for JSON; or for Python, where its parser refuses what is valid JSON (an
    unpaired surrogate, deep nesting)."""
    try:
        return model.model_validate_json(inputs)
    except ValidationError as error:
        if error.error_count() != 1 or error.errors()[0]["type"] != "json_invalid":
            raise
    return model.model_validate(values)


def _grouped(values: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """What ``**kwargs`` gets in a member of its own, so that ``extra`` need not be allowed, which
    nested dataclasses would inherit."""
    known = {name: value for name, value in values.items() if name in names}
    known[OTHERS] = {name: value for name, value in values.items() if name not in names}
    return known


def _pass_session(values: dict[str, Any], parameter: Parameter, session: Session | None) -> None:
    """Without a session the parameter's own default says what it is, if it has one."""
    if session is not None:
        values[parameter.name] = session
    elif parameter.required:
        values[parameter.name] = Absent()


def _positional(parameters: tuple[Parameter, ...], values: dict[str, Any]) -> tuple[Any, ...]:
    """Takes them out of ``values``; up to the last that is given, others get their default."""
    given = [index for index, each in enumerate(parameters) if each.name in values]
    count = given[-1] + 1 if given else 0
    return tuple(values.pop(each.name, each.default) for each in parameters[:count])
