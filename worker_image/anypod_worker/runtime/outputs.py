"""What a program answers, as JSON bytes, or the place where it is not JSON.

Plain values, as most are, go to the encoder at once. Others are walked in Python, by the rules of
``plain``; so is a plain value that the encoder refuses, to name the place.
"""

import contextlib
import json
import re
from typing import Any

import msgspec

from anypod.wire.messages import Failure
from anypod_worker.runtime import failures, plain

_SCALARS = frozenset({str, int, bool, type(None)})
_CYCLE_NODES = 100_000
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


class _Walk:
    """Makes the same value of JSON's own types only. Raises NotJson, TooLong, RecursionError."""

    def __init__(self, left: int) -> None:
        self._left = left
        """Bytes that there may still be, counting too few rather than too many."""
        self._above: set[int] = set()
        """The ids of what the current value is in."""

    def __call__(self, value: Any) -> Any:
        kind = type(value)
        self._left -= 1 + len(value) if kind is str else 1
        if self._left < 0:
            raise plain.TooLong
        if kind in _SCALARS:
            return value
        if kind is float:
            return plain.finite(value)
        if id(value) in self._above:
            raise plain.NotJson("a value that contains itself is not JSON")
        self._above.add(id(value))
        if kind is dict:
            result: Any = self._dict(value)
        elif kind is list or kind is tuple:
            result = self._list(value)
        else:
            result = self._other(value)
        self._above.discard(id(value))
        return result

    def _dict(self, value: dict[Any, Any]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, item in value.items():
            name = key if type(key) is str else plain.key_of(key)
            if name in result:
                raise plain.NotJson(f"two keys are {failures.clean(json.dumps(name), 200)} in JSON")
            try:
                result[name] = self(item)
            except plain.NotJson as misfit:
                misfit.steps.append(name)
                raise
        return result

    def _list(self, value: list[Any] | tuple[Any, ...]) -> list[Any]:
        result: list[Any] = []
        for index, item in enumerate(value):
            try:
                result.append(self(item))
            except plain.NotJson as misfit:
                misfit.steps.append(index)
                raise
        return result

    def _other(self, value: Any) -> Any:
        try:
            closer = plain.replaced(value)
        except (plain.NotJson, RecursionError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - properties and serializers of the program
            raise plain.NotJson(
                f"a value of type {type(value).__name__} cannot be made JSON:"
                f" {failures.describe(error)}"
            ) from None
        return (
            closer if type(closer) is list and plain.is_plain(closer, self._left) else self(closer)
        )


def walked(value: Any, *, limit: int, root: str = "outputs") -> Any:
    """The value made of JSON's own types only. Raises BadOutput."""
    try:
        return _Walk(limit)(value)
    except plain.NotJson as misfit:
        raise _not_serializable(root, misfit) from None
    except plain.TooLong:
        raise too_large(limit, root) from None
    except RecursionError:
        raise _not_serializable(root, plain.NotJson("nested too deeply")) from None


def _check_cycles(value: Any, root: str) -> None:
    """A value that contains itself looks endless. Raises BadOutput if that is found early."""
    with contextlib.suppress(plain.TooLong, RecursionError):
        try:
            _Walk(_CYCLE_NODES)(value)
        except plain.NotJson as misfit:
            raise _not_serializable(root, misfit) from None


def _bytes(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:  # an unpaired surrogate: only an escape can say it
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def _encoded(value: Any, limit: int, root: str) -> bytes:
    if plain.is_plain(value, limit):
        try:
            return _bytes(value)
        except (RecursionError, ValueError):
            pass  # the walk says where
    simple = walked(value, limit=limit, root=root)
    try:
        return _bytes(simple)
    except RecursionError:
        raise _not_serializable(root, plain.NotJson("nested too deeply")) from None
    except ValueError as error:  # an integer of more digits than Python writes
        raise _not_serializable(root, plain.NotJson(str(error))) from None


def encode(value: Any, *, limit: int, root: str = "outputs") -> bytes:
    """JSON of the value, at most ``limit`` bytes. Raises BadOutput, and MemoryError.

    A value that is far too large is refused before anything is built: the encoder does not
    survive the end of memory.
    """
    if isinstance(value, str | bytes) and len(value) > limit:
        raise too_large(limit, root)
    try:
        data = _encoded(value, limit, root)
    except plain.TooLong:
        _check_cycles(value, root)
        raise too_large(limit, root) from None
    if len(data) > limit:
        raise too_large(limit, root)
    return data
