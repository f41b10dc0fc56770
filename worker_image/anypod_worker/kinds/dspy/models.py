"""What a program takes and gives, validated by us on both ways.

DSPy only warns of inputs that do not fit, and does not look at bounds of outputs.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
)

from anypod.dspy import spec
from anypod.wire import places, unpaired
from anypod_worker.kinds.dspy import failures, modules, types
from anypod_worker.runtime import inputs as runtime_inputs
from anypod_worker.runtime import schemas
from anypod_worker.runtime.signatures import Description

_STRICT = ConfigDict(extra="forbid", protected_namespaces=())
_SHOWN_REASONING = frozenset({"ChainOfThought", "ReAct"})
REASONING = "reasoning"
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""The beginning of the escape of one, which most inputs do not have."""


@dataclass(frozen=True, slots=True)
class Models:
    inputs: type[BaseModel]
    outputs: type[BaseModel]
    history: str
    """The input that holds the conversation; empty when there is none."""
    turn: type[BaseModel]
    """What one turn of a conversation may have."""

    @classmethod
    def of(cls, parts: modules.Parts) -> "Models":
        document = parts.spec
        history = modules.history_field(document)
        given = [field for field in document.signature.inputs if field.name != history]
        takes = types.model("Inputs", given, parts.own, given=True)
        turn = types.turn([*given, *document.signature.outputs], parts.own)
        if history:
            about = "The conversation so far; in a session it is kept there, and not to be given."
            turns: Any = list[Annotated[turn, AfterValidator(types.said)]]  # type: ignore[valid-type]
            messages: Any = (turns, Field(default=[], description=about))
            takes = create_model("Inputs", __base__=takes, **{history: messages})
        told = list(document.signature.outputs)
        if document.module.name in _SHOWN_REASONING:
            told.insert(0, spec.Field(REASONING))
        return cls(takes, types.model("Outputs", told, parts.own), history, turn)

    def description(self, doc: str | None) -> Description:
        return Description(
            inputs_schema=msgspec.json.encode(schemas.of_inputs(self.inputs)),
            outputs_schema=msgspec.json.encode(schemas.of_outputs(self.outputs, _STRICT)),
            doc=doc,
            streams=False,
            waits=True,
        )

    def bind(self, data: bytes) -> dict[str, Any]:
        """The fields as Python values. Raises Rejected."""
        values = runtime_inputs.parsed(data)
        if _SURROGATE.search(data) and (place := unpaired.place_in(values, "inputs")):
            raise runtime_inputs.refused(place, "has an unpaired surrogate, which no LM is told")
        valid = runtime_inputs.validated(self.inputs, data, values)
        return {name: getattr(valid, name) for name in type(valid).model_fields}

    def told(self, prediction: Any) -> dict[str, Any]:
        """The outputs as JSON has them. Raises Known for what the model got wrong."""
        found = {name: prediction.get(name) for name in self.outputs.model_fields}
        try:
            valid = self.outputs.model_validate(found)
        except ValidationError as error:
            place, why = types.first_error(error, "outputs")
            raise failures.unusable(f"{place}: {why}", _text(found)) from None
        outputs = valid.model_dump(mode="json")
        wrong = places.place_of(outputs, "outputs", _is_not_finite)
        if wrong is not None:
            raise failures.unusable(f"{wrong}: the number is not finite", _text(found))
        return outputs


def _is_not_finite(value: Any) -> bool:
    """A number that JSON has not."""
    return isinstance(value, float) and not math.isfinite(value)


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)
