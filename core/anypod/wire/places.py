"""Where in a value of JSON something is: the names and numbers that lead there, joined by dots."""

from collections.abc import Callable
from typing import Any

_Way = tuple[Any, str | int] | None
"""From the outermost value: the way to what holds it, and its name or number there."""


def place_of(value: Any, path: str, is_sought: Callable[[Any], bool]) -> str | None:
    """Of the first text, number or name of a member that is; ``path`` leads to the value."""
    waiting: list[tuple[_Way, Any]] = [(None, value)]
    while waiting:
        way, one = waiting.pop()
        if isinstance(one, dict):
            for name in one:
                if is_sought(name):
                    return _told(path, (way, name))
            waiting += [((way, name), item) for name, item in one.items()][::-1]
        elif isinstance(one, list):
            waiting += [((way, index), item) for index, item in enumerate(one)][::-1]
        elif is_sought(one):
            return _told(path, way)
    return None


def _told(path: str, way: _Way) -> str:
    steps: list[str] = []
    while way is not None:
        way, step = way
        steps.append(str(step))
    return ".".join([path, *reversed(steps)])
