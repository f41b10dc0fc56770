"""What a program answers, as JSON bytes, or the place where it is not JSON.

Plain values, as most are, go to the encoder at once. Others are walked in Python, by the rules of
``plain``; so is a plain value that the encoder refuses, to name the place.
"""

import json
import re
from typing import Any

import msgspec

from anypod.wire.messages import Failure
from anypod_worker.runtime import failures, plain

_SCALARS = frozenset({str, int, bool, type(None)})
_NAME = re.compile(r"[^\W\d]\w*")


class BadOutput(Exception):
    """The value cannot be an answer; ``failure`` says why and where."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


def too_large(limit: int, root: str) -> BadOutput:
    return BadOutput(
        Failure(
            type="output-too-large",
            detail=f"{root}: more than the limit of {limit} bytes as JSON",
            path=root,
            limit=limit,
        )
    )


def _not_serializable(root: str, misfit: plain.NotJson) -> BadOutput:
    path = root
    for step in reversed(misfit.steps):
        if isinstance(step, int):
            path += f"[{step}]"
        else:
            path += f".{step}" if _NAME.fullmatch(step) else f"[{json.dumps(step)}]"
        if len(path) > 1000:
            path += " ..."
            break
    path = failures.clean(path, 2000)
    detail = failures.clean(f"{path}: {misfit}")
    return BadOutput(Failure(type="output-not-serializable", detail=detail, path=path))


def _walk_dict(value: dict[Any, Any], above: set[int]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, item in value.items():
        name = key if type(key) is str else plain.key_of(key)
        if name in result:
            raise plain.NotJson(f"two keys are {failures.clean(json.dumps(name), 200)} in JSON")
        try:
            result[name] = _walk(item, above)
        except plain.NotJson as misfit:
            misfit.steps.append(name)
            raise
    return result


def _walk_list(value: list[Any] | tuple[Any, ...], above: set[int]) -> list[Any]:
    result: list[Any] = []
    for index, item in enumerate(value):
        try:
            result.append(_walk(item, above))
        except plain.NotJson as misfit:
            misfit.steps.append(index)
            raise
    return result


def _walk_other(value: Any, above: set[int]) -> Any:
    try:
        closer = plain.replaced(value)
    except (plain.NotJson, RecursionError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - properties and serializers of the program
        raise plain.NotJson(
            f"a value of type {type(value).__name__} cannot be made JSON:"
            f" {failures.describe(error)}"
        ) from None
    return closer if type(closer) is list and plain.is_plain(closer) else _walk(closer, above)


def _walk(value: Any, above: set[int]) -> Any:
    """The same value made of JSON's own types only. ``above`` are the ids of what it is in."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is float:
        return plain.finite(value)
    if id(value) in above:
        raise plain.NotJson("a value that contains itself is not JSON")
    above.add(id(value))
    if kind is dict:
        result: Any = _walk_dict(value, above)
    elif kind is list or kind is tuple:
        result = _walk_list(value, above)
    else:
        result = _walk_other(value, above)
    above.discard(id(value))
    return result


def walked(value: Any, root: str = "outputs") -> Any:
    """The value made of JSON's own types only. Raises BadOutput."""
    try:
        return _walk(value, set())
    except plain.NotJson as misfit:
        raise _not_serializable(root, misfit) from None
    except RecursionError:
        raise _not_serializable(root, plain.NotJson("nested too deeply")) from None


def _bytes(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:  # an unpaired surrogate: only an escape can say it
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def _is_longer(value: Any, limit: int) -> bool:
    """Its JSON would be longer than the limit, found without building it."""
    size = 0
    waiting: list[Any] = [value]
    while waiting and size <= limit:
        item = waiting.pop()
        size += 1
        if isinstance(item, str | bytes):
            size += len(item)
        elif isinstance(item, dict):
            size += sum(len(key) for key in item if isinstance(key, str))
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)
    return size > limit


def _encoded(value: Any, root: str) -> bytes:
    if plain.is_plain(value):
        try:
            return _bytes(value)
        except (RecursionError, ValueError):
            pass  # the walk says where
    simple = walked(value, root)
    try:
        return _bytes(simple)
    except RecursionError:
        raise _not_serializable(root, plain.NotJson("nested too deeply")) from None
    except ValueError as error:  # an integer of more digits than Python writes
        raise _not_serializable(root, plain.NotJson(str(error))) from None


def encode(value: Any, *, limit: int, root: str = "outputs") -> bytes:
    """JSON of the value, at most ``limit`` bytes. Raises BadOutput, and MemoryError."""
    if isinstance(value, str | bytes) and len(value) > limit:
        raise too_large(limit, root)
    try:
        data = _encoded(value, root)
    except MemoryError:
        if _is_longer(value, limit):
            raise too_large(limit, root) from None
        raise
    if len(data) > limit:
        raise too_large(limit, root)
    return data
