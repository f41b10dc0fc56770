"""JSON as RFC 8259 means it, with one rule where that leaves a choice: a key may stand once.

Python's own parser takes NaN, makes infinity of ``1e400``, takes the last of two equal keys, and
so would answer a question that the caller did not ask.
"""

import json
from math import isinf
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


def _float(text: str) -> float:
    value = float(text)
    if isinf(value):
        raise InvalidJson(f"{text[:40]} is too large for a floating-point number")
    return value


_decode = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_constant, parse_float=_float
).decode


def loads(data: bytes | str) -> Any:
    """Parse one JSON text, UTF-8 if it is bytes. Raises InvalidJson.

    Integers are exact, up to the 4,300 digits that Python takes; unpaired surrogates that are
    written as escapes stay as they are.
    """
    try:
        return _decode(data if isinstance(data, str) else str(data, "utf-8"))
    except InvalidJson:
        raise
    except RecursionError:
        raise InvalidJson("nested too deeply") from None
    except UnicodeDecodeError as error:
        raise InvalidJson(f"not UTF-8: {error.reason} at byte {error.start}") from None
    except ValueError as error:
        raise InvalidJson(str(error)) from None
