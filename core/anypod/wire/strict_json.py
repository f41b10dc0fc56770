"""JSON as RFC 8259 means it, with one rule where that leaves a choice: a key may stand once.

Python's own parser takes NaN, takes the last of two equal keys, and so would answer a question
that the caller did not ask.
"""

import json
from typing import Any


class InvalidJson(ValueError):
    """Says what is wrong, and where if that is known."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise InvalidJson(f"the key {key!r} stands twice in one object")
            seen.add(key)
    return result


def _constant(name: str) -> Any:
    raise InvalidJson(f"{name} is not JSON")


def loads(data: bytes | str) -> Any:
    """Parse one JSON text. Raises InvalidJson; integers of any size are exact."""
    try:
        return json.loads(data, object_pairs_hook=_object, parse_constant=_constant)
    except InvalidJson:
        raise
    except RecursionError:
        raise InvalidJson("nested too deeply") from None
    except UnicodeDecodeError as error:
        raise InvalidJson(f"not UTF-8: {error.reason} at byte {error.start}") from None
    except ValueError as error:
        raise InvalidJson(str(error)) from None
