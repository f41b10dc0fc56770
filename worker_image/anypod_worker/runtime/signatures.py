"""What an entry function takes and gives: how inputs are bound, and the schemas of both ways.

``bytes`` are base64, in and out; inside a pydantic model they are what the model's own
configuration says. A parameter whose type JSON cannot give is refused, or is no input if it has
a default.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from pydantic import BaseModel, ConfigDict, Field, create_model

from anypod_worker.runtime import failures, interrupts, schemas
from anypod_worker.runtime.annotations import Parameter, signature_of
from anypod_worker.runtime.inputs import OTHERS, Plan
from anypod_worker.runtime.loading import InvalidProgram, LoadedProgram, invalid

_CONFIG = ConfigDict(
    extra="forbid",
    val_json_bytes="base64",
    ser_json_bytes="base64",
    protected_namespaces=(),
)


class Description(NamedTuple):
    inputs_schema: bytes
    outputs_schema: bytes
    doc: str | None
    streams: bool
    waits: bool


def _field(parameter: Parameter) -> tuple[Any, Any]:
    if parameter.required:
        return parameter.annotation, Field(alias=parameter.name)
    # The function's own default is used; the model only shows it.
    shown = schemas.shown_default(parameter.default)
    return parameter.annotation, Field(
        alias=parameter.name, default_factory=_no_default, json_schema_extra=shown
    )


def _no_default() -> None:
    return None


def _model(parameters: list[Parameter], others: Any) -> tuple[type[BaseModel], dict[str, str]]:
    fields: dict[str, Any] = {f"f{n}": _field(each) for n, each in enumerate(parameters)}
    names = {f"f{n}": each.name for n, each in enumerate(parameters)}
    if others is not None:
        fields["others"] = (dict[str, others], Field(alias=OTHERS))
        names["others"] = OTHERS
    model: type[BaseModel] = create_model("Inputs", __config__=_CONFIG, **fields)
    model.model_rebuild()
    return model, names


def _supported(parameters: tuple[Parameter, ...]) -> list[Parameter]:
    """Those that JSON can give. Raises InvalidProgram for another that has no default."""
    found: list[Parameter] = []
    for each in parameters:
        try:
            _model([each], None)
        except Exception as error:  # noqa: BLE001 - building a schema runs code of the program
            if each.required:
                raise _unsupported(each, error) from None
        else:
            found.append(each)
    return found


def _unsupported(parameter: Parameter, error: Exception) -> InvalidProgram:
    reason = failures.message_of(error).splitlines()[0]
    return invalid(
        f"parameter {parameter.name!r} has an annotation that JSON cannot become: {reason}",
        exception=failures.name_of(error),
        message=failures.message_of(error),
    )


def _plan(entry: Callable[..., Any]) -> Plan:
    signature = signature_of(entry)
    parameters, others = list(signature.parameters), signature.others
    model: type[BaseModel] | None = None
    fields: dict[str, str] = {}
    if any(each.annotation is not Any for each in parameters) or others not in (None, Any):
        try:
            model, fields = _model(parameters, others)
        except Exception:  # noqa: BLE001 - of all, find the one
            parameters = _supported(signature.parameters)
            model, fields = _others_checked(parameters, others)
    return Plan(
        signature=signature,
        names=frozenset(each.name for each in parameters),
        required=frozenset(each.name for each in parameters if each.required),
        fields=fields,
        model=model,
    )


def _others_checked(
    parameters: list[Parameter], others: Any
) -> tuple[type[BaseModel], dict[str, str]]:
    try:
        return _model(parameters, others)
    except Exception as error:  # noqa: BLE001 - building a schema runs code of the program
        raise _unsupported(Parameter("**kwargs", others, True, None), error) from None


def plan_of(program: LoadedProgram) -> Plan:
    """Made once per program, while it is active. Raises InvalidProgram."""
    if program.plan is None:
        program.plan = _plan(program.entry)
    plan: Plan = program.plan
    return plan


def _described(program: LoadedProgram) -> Description:
    plan = plan_of(program)
    model = plan.model
    if model is None:
        parameters = [each for each in plan.signature.parameters if each.name in plan.names]
        model, _ = _model(parameters, plan.signature.others)
    return Description(
        inputs_schema=msgspec.json.encode(schemas.of_inputs(model)),
        outputs_schema=msgspec.json.encode(schemas.of_outputs(plan.signature.returns, _CONFIG)),
        doc=_doc(program.entry),
        streams=plan.signature.streams,
        waits=plan.signature.waits,
    )


def _doc(entry: Callable[..., Any]) -> str | None:
    doc = inspect.getdoc(entry)
    return failures.clean(doc) if doc else None


def describe(program: LoadedProgram) -> Description:
    """JSON schemas of inputs and outputs, and what else is known without running it.

    Interruptible. Raises InvalidProgram for a required input that JSON cannot give. Outputs that
    no schema can be made for have the schema of anything.
    """
    execution = interrupts.Execution()
    program.activate()
    try:
        with execution:
            return _described(program)
    except InvalidProgram:
        raise
    except interrupts.Interrupted:
        interrupts.finish()
        raise InvalidProgram(
            invalid("finding its schemas did not end in time").failure, interrupted=True
        ) from None
    except BaseException as error:  # noqa: BLE001 - schemas run code of the program
        raise invalid(f"finding its schemas failed: {failures.describe(error)}") from None
    finally:
        program.deactivate()
