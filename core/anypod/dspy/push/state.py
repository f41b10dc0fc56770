"""What an optimiser has found for a predictor, as data: demos, and instructions of its own.

Of a demo go along the fields that its predictor has, as JSON. What else DSPy keeps in a state, an
LM, traces, its training, does not.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticSerializationError

from anypod.dspy import values
from anypod.dspy.push.refusals import Refusals


def state_of(predictor: Any, made: Any, where: str, refusals: Refusals) -> dict[str, Any]:
    """Empty for a predictor that is as it was made; ``made`` is one."""
    found: dict[str, Any] = {}
    known = {*made.signature.fields, "augmented"}
    if predictor.signature.instructions != made.signature.instructions:
        found["instructions"] = predictor.signature.instructions
    demos = [
        _demo(dict(demo.items()), known, f"{where}.demos[{number}]", refusals)
        for number, demo in enumerate(predictor.demos)
    ]
    return found | ({"demos": demos} if demos else {})


def _demo(
    demo: Mapping[str, Any], known: set[str], where: str, refusals: Refusals
) -> dict[str, Any]:
    return {
        name: as_json(value, f"{where}[{name!r}]", "leave the demo out", refusals)
        for name, value in demo.items()
        if name in known
    }


def as_json(value: Any, where: str, to_do: str, refusals: Refusals) -> Any:
    try:
        found = values.as_json(value)
        json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
    except (PydanticSerializationError, ValueError, TypeError) as wrong:
        refusals.add(where, f"a value that has no JSON form: {wrong}", to_do)
        return None
    return found
