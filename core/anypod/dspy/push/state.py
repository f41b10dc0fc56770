"""What an optimiser has found for a predictor, as data: demos, and instructions of its own.

Of a demo go along the fields that its predictor has, as JSON. What else DSPy keeps in a state, an
LM, traces, its training, does not.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

from anypod.dspy.push.refusals import Refusals


def state_of(
    predictor: Any, made: Any, signature_has: set[str], where: str, refusals: Refusals
) -> dict[str, Any]:
    """Empty for a predictor that is as it was made; ``made`` is one."""
    found: dict[str, Any] = {}
    if predictor.signature.instructions != made.signature.instructions:
        found["instructions"] = predictor.signature.instructions
    demos = [
        _demo(dict(demo.items()), signature_has, f"{where}.demos[{number}]", refusals)
        for number, demo in enumerate(predictor.demos)
    ]
    return found | ({"demos": demos} if demos else {})


def _demo(
    demo: Mapping[str, Any], known: set[str], where: str, refusals: Refusals
) -> dict[str, Any]:
    return {
        name: _as_json(value, f"{where}[{name!r}]", refusals)
        for name, value in demo.items()
        if name in known
    }


def _as_json(value: Any, where: str, refusals: Refusals) -> Any:
    try:
        found = to_jsonable_python(value)
        json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
    except (PydanticSerializationError, ValueError, TypeError) as wrong:
        refusals.add(where, f"a value that has no JSON form: {wrong}", "leave the demo out")
        return None
    return found
