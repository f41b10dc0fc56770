"""Text that JSON can say and UTF-8 cannot: unpaired surrogates, which JSON writes as escapes.

Programs of Python get and give them as they are. Where text goes on to somebody else, it has to be
found and refused by its place.
"""

from typing import Any

from anypod.wire import places


def is_in(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def place_in(value: Any, path: str) -> str | None:
    """Where a value of JSON has one, if it does, in a text or in the name of a member."""
    return places.place_of(value, path, lambda one: isinstance(one, str) and is_in(one))


def repaired(value: Any) -> Any:
    """The same with a replacement character for each; of JSON's own types."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {repaired(name): repaired(item) for name, item in value.items()}
    if isinstance(value, list):
        return [repaired(item) for item in value]
    return value
