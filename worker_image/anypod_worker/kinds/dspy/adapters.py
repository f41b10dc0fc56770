"""Pydantic's adapters of plain types, made once: DSPy makes one for every value that it shows."""

from typing import Any

from dspy.adapters import utils
from pydantic import TypeAdapter

_PLAIN: dict[Any, TypeAdapter[Any]] = {
    type_: TypeAdapter(type_) for type_ in (str, int, float, bool, list, dict, type(None))
}


def _adapter(type_: Any) -> TypeAdapter[Any]:
    found = _PLAIN.get(type_) if isinstance(type_, type) else None
    return TypeAdapter(type_) if found is None else found


def remember() -> None:
    """Have DSPy use them; once more changes nothing."""
    utils.TypeAdapter = _adapter
