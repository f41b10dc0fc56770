"""Values of fields as JSON has them, in the form in which callers give them."""

from typing import Any

from pydantic_core import to_jsonable_python

_IMAGE = "dspy.adapters.types.image"


def as_json(value: Any) -> Any:
    """An image as its object, and not as the text that DSPy marks it by in a prompt.

    Raises PydanticSerializationError.
    """
    if type(value).__module__ == _IMAGE:
        return {"url": value.url}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return {name: as_json(item) for name, item in value.items()}
    return to_jsonable_python(value)
