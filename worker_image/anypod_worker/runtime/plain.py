"""Which values are JSON as they are, and what becomes of the others.

The rules, one for each kind of value, are in ``replaced`` (values) and ``key_of`` (names of
members). Whatever has no rule is refused, with its place; nothing is lost or bent in silence.
"""

import base64
import dataclasses
import math
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import chain
from pathlib import PurePath
from typing import Any
from uuid import UUID

import msgspec
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

_CONTAINERS = frozenset({dict, list, tuple})
_STR = frozenset({str})
_KINDS = frozenset({dict, list, tuple, str, int, float, bool, type(None)})
_TEXTUAL = (date, time, timedelta, UUID, Decimal, PurePath)
_MAX_DEPTH = 1000
"""Deeper, the encoder gives up too."""
_flatten = chain.from_iterable


class NotJson(ValueError):
    """A value that has no form in JSON, and the way to it, which grows while a walk unwinds."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.steps: list[str | int] = []


class TooLong(Exception):
    """The value's JSON would be longer than the limit."""


def is_plain(value: Any, limit: int = sys.maxsize) -> bool:
    """Only JSON's own types, names that are strings, finite numbers. Raises TooLong as soon as it
    is clear that its JSON is longer than the limit.

    Level by level, so that most of the work is done in C.
    """
    level: list[Any] = [value]
    size = 0
    for _ in range(_MAX_DEPTH):
        kinds = set(map(type, level))
        if not kinds <= _KINDS:
            return False
        if float in kinds and not all(map(math.isfinite, [x for x in level if type(x) is float])):
            return False
        size += len(level)
        if str in kinds:
            size += sum(map(len, [x for x in level if type(x) is str]))
        if size > limit:
            raise TooLong
        if _CONTAINERS.isdisjoint(kinds):
            return True
        inner: list[Any] = [x for x in level if type(x) in _CONTAINERS]
        if sum(map(len, inner)) > limit:
            raise TooLong
        if dict in kinds:
            if not _STR.issuperset(map(type, _flatten([x for x in inner if type(x) is dict]))):
                return False
            inner = [x.values() if type(x) is dict else x for x in inner]
        level = list(_flatten(inner))
    return False


def finite(value: float) -> float:
    if math.isfinite(value):
        return value
    raise NotJson(f"{float(value)!r} is not a JSON number")


def _text(value: Any) -> Any:
    """Dates and times in ISO 8601, decimals exactly, as pydantic writes and reads them; what it
    would cut off, in Python's way."""
    if value != value:  # NaN, and the missing values of pandas
        raise NotJson(f"{value!r} is not JSON")
    if isinstance(value, Decimal) and not value.is_finite():
        raise NotJson(f"{value!r} is not a JSON number")
    return value.isoformat() if _is_finer(value) else to_jsonable_python(value)


def _is_finer(value: Any) -> bool:
    """Than pydantic writes it: pandas has nanoseconds, old time zones have seconds."""
    if getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0):
        return True
    offset = value.utcoffset() if isinstance(value, datetime | time) else None
    return offset is not None and offset % timedelta(minutes=1) != timedelta()


def _numpy(value: Any) -> Any:
    numpy = sys.modules["numpy"]
    kind = value.dtype.kind
    if kind in "mM":
        if numpy.isnat(value).any():
            raise NotJson("NaT is not JSON")
        return numpy.asarray(value).astype(str).tolist()
    if kind == "g" or value.dtype == numpy.longdouble:
        return numpy.asarray(value).astype(float).tolist()
    return value.tolist()


def _pandas(value: Any) -> Any:
    pandas = sys.modules["pandas"]
    if isinstance(value, pandas.DataFrame):
        if not value.columns.is_unique:
            twice = value.columns[value.columns.duplicated()][0]
            raise NotJson(f"two columns of the table have the name {twice!r}")
        return value.to_dict(orient="records")
    if isinstance(value, pandas.Series | pandas.Index):
        return value.tolist()
    raise NotJson(f"a value of type {type(value).__name__} is not JSON")


def _of_library(value: Any) -> Any:
    """Values of libraries that are known, if the program has loaded them."""
    origin = type(value).__module__.partition(".")[0]
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray | numpy.generic):
        return _numpy(value)
    if origin == "pandas" and "pandas" in sys.modules:
        return _pandas(value)
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    attributes = getattr(type(value), "__attrs_attrs__", None)
    if attributes is not None:
        return {each.name: getattr(value, each.name) for each in attributes}
    raise NotJson(f"a value of type {type(value).__name__} is not JSON")


def _check_finite(value: Any) -> None:
    """Raises NotJson for a number that is not, in what pydantic made of a model."""
    if isinstance(value, float):
        finite(value)
        return
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    elif hasattr(value, "dtype") and value.dtype.kind == "f":
        items = enumerate(value.tolist()) if value.ndim else ((0, float(value)),)
    for step, item in items:
        try:
            _check_finite(item)
        except NotJson as error:
            error.steps.append(step if isinstance(step, int) else str(step))
            raise


def _dumped(model: BaseModel) -> Any:
    """By the model's own rules for JSON (aliases, serializers, bytes), and by ours for what these
    do not know. Unless the model says otherwise pydantic would make null of NaN."""
    if "ser_json_inf_nan" not in model.model_config:
        _check_finite(model.model_dump(by_alias=True))
    return model.model_dump(mode="json", by_alias=True, fallback=replaced)


def _of_dataclass(value: Any) -> Any:
    """One of pydantic's by its aliases, as the schema of outputs says."""
    known = getattr(type(value), "__pydantic_fields__", {})
    names = [each.name for each in dataclasses.fields(value)]
    aliases = {name: known[name].serialization_alias for name in names if name in known}
    return {aliases.get(name) or name: getattr(value, name) for name in names}


def _sorted(values: Set[Any]) -> list[Any]:
    try:
        return sorted(values)
    except TypeError:
        return list(values)


def _collection(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Set):
        return _sorted(value)
    if isinstance(value, Sequence | deque):
        return list(value)
    if isinstance(value, Iterator):
        raise NotJson(f"a value of type {type(value).__name__} is not JSON; make it a list")
    return _of_library(value)


def replaced(value: Any) -> Any:
    """A value that is not of JSON's own types, by something that is closer to it.

    Raises NotJson; code of the program that it calls may raise anything.
    """
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__index__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, _TEXTUAL):
        return _text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, BaseModel):
        return _dumped(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _of_dataclass(value)
    return _collection(value)


def key_of(key: Any) -> str:
    """The name of a member: strings are themselves; numbers, booleans and None as JSON writes
    them; dates, UUIDs, decimals, paths and enums as they would be as values."""
    if isinstance(key, Enum):
        return key_of(key.value)
    if isinstance(key, str):
        return str.__str__(key)
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    if isinstance(key, int):
        return int.__repr__(key)
    if isinstance(key, float):
        return float.__repr__(finite(key))
    if isinstance(key, _TEXTUAL):
        return str(_text(key))
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(key, numpy.generic):
        return key_of(_numpy(key))
    raise NotJson(f"a key of type {type(key).__name__} is not JSON")
