"""Text that JSON can say and UTF-8 cannot: unpaired surrogates, which JSON writes as escapes.

Programs of Python get and give them as they are. Where text goes on to somebody else, it has to be
found and refused by its place.
"""

from typing import Any

_Way = tuple[Any, str | int] | None
"""From the outermost value: the way to what holds it, and its name or number there."""


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
    waiting: list[tuple[_Way, Any]] = [(None, value)]
    while waiting:
        way, one = waiting.pop()
        if isinstance(one, str):
            if is_in(one):
                return _told(path, way)
        elif isinstance(one, dict):
            for name in one:
                if is_in(name):
                    return _told(path, (way, name))
            waiting += [((way, name), item) for name, item in one.items()][::-1]
        elif isinstance(one, list):
            waiting += [((way, index), item) for index, item in enumerate(one)][::-1]
    return None


def _told(path: str, way: _Way) -> str:
    steps: list[str] = []
    while way is not None:
        way, step = way
        steps.append(str(step))
    return ".".join([path, *reversed(steps)])


def repaired(value: Any) -> Any:
    """The same with a replacement character for each; of JSON's own types."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {repaired(name): repaired(item) for name, item in value.items()}
    if isinstance(value, list):
        return [repaired(item) for item in value]
    return value
