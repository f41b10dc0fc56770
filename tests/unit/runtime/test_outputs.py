"""Outputs are JSON by documented rules, or refused with the place that is not."""

import base64
import json
import math
from collections import ChainMap, OrderedDict, UserList, deque, namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pandas as pd
import pydantic.dataclasses
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_serializer

from anypod.wire.messages import Failure
from anypod_worker.runtime import outputs

LIMIT = 1_000_000


def encoded(value: Any, limit: int = LIMIT) -> Any:
    return json.loads(outputs.encode(value, limit=limit))


def refused(value: Any, limit: int = LIMIT) -> Failure:
    with pytest.raises(outputs.BadOutput) as raised:
        outputs.encode(value, limit=limit)
    return raised.value.failure


class Colour(Enum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


class Word(StrEnum):
    A = "a"


class Text(str):
    def __str__(self) -> str:
        return "another"


@dataclass
class Node:
    value: Any
    next: Any = None


class Model(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", arbitrary_types_allowed=True)

    at: datetime = datetime(2024, 1, 1, tzinfo=UTC)
    data: bytes = b"\xff"
    named: int = Field(1, serialization_alias="Named")
    inner: Any = None

    @field_serializer("named")
    def doubled(self, value: int) -> int:
        return 2 * value


Pair = namedtuple("Pair", "a b")


class Struct(msgspec.Struct):
    a: int


@pydantic.dataclasses.dataclass
class Aliased:
    a: int = Field(serialization_alias="aA")
    b: int = 2


LOCAL_MEAN_TIME = timezone(timedelta(minutes=53, seconds=28))
"""Berlin's, before there were time zones."""
NUMBERS = np.arange(6).reshape(2, 3)

RULES: list[tuple[Any, Any]] = [
    (Colour.RED, "red"),
    (Number.ONE, 1),
    (Word.A, "a"),
    (Text("self"), "self"),
    (True, True),
    ((1, (2,)), [1, [2]]),
    (Pair(1, 2), [1, 2]),
    ({3, 1, 2}, [1, 2, 3]),
    (frozenset({1}), [1]),
    (deque([1, 2]), [1, 2]),
    (range(3), [0, 1, 2]),
    (UserList([1]), [1]),
    ({"a": 1}.keys(), ["a"]),
    (MappingProxyType({"a": 1}), {"a": 1}),
    (ChainMap({"a": 1}, {"b": 2}), {"b": 2, "a": 1}),
    (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    (datetime(2024, 2, 29, 12, tzinfo=UTC), "2024-02-29T12:00:00Z"),
    (datetime(2024, 2, 29, 12), "2024-02-29T12:00:00"),  # noqa: DTZ001 - programs have such
    (date(2024, 2, 29), "2024-02-29"),
    (time(1, 2, 3), "01:02:03"),
    (timedelta(days=1, seconds=1), "P1DT1S"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (Decimal("1.10"), "1.10"),
    (Path("/a/b"), "/a/b"),
    (b"\x00\xff\xfe", "AP/+"),
    (bytearray(b"a"), "YQ=="),
    (memoryview(b"a"), "YQ=="),
    (Node(Node(1), [b"a"]), {"value": {"value": 1, "next": None}, "next": ["YQ=="]}),
    (Struct(1), {"a": 1}),
    (
        Model(inner=[Node(np.int64(3))]),
        {
            "at": "2024-01-01T00:00:00Z",
            "data": "_w==",
            "Named": 2,
            "inner": [{"value": 3, "next": None}],
        },
    ),
    (np.int64(-3), -3),
    (np.uint64(2**64 - 1), 2**64 - 1),
    (np.float32(0.5), 0.5),
    (np.float64(0.1), 0.1),
    (np.longdouble(0.5), 0.5),
    (np.bool_(True), True),
    (np.str_("é"), "é"),
    (np.bytes_(b"a"), "YQ=="),
    (np.datetime64("2024-02-29"), "2024-02-29"),
    (
        np.array(["2024-02-29T01:02:03.000000004"], dtype="M8[ns]"),
        ["2024-02-29T01:02:03.000000004"],
    ),
    (NUMBERS, [[0, 1, 2], [3, 4, 5]]),
    (NUMBERS[:, ::2], [[0, 2], [3, 5]]),
    (np.array(5), 5),
    (np.array([]), []),
    (np.array([None, {"a": np.int8(1)}], dtype=object), [None, {"a": 1}]),
    ({"t": np.zeros(2, dtype=[("a", "i4"), ("b", "U1")])}, {"t": [[0, ""], [0, ""]]}),
    (pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]),
    (pd.Series([1.5, 2.5]), [1.5, 2.5]),
    (pd.Index(["a"]), ["a"]),
    (pd.Timestamp("2024-02-29T12:00:00Z"), "2024-02-29T12:00:00Z"),
    (pd.Timestamp("2024-02-29T12:00:00.123456789"), "2024-02-29T12:00:00.123456789"),
    (pd.DataFrame({"t": [pd.Timestamp(1)]}), [{"t": "1970-01-01T00:00:00.000000001"}]),
    (pd.Timedelta(1, "ns"), "P0DT0H0M0.000000001S"),
    (datetime(1890, 1, 1, tzinfo=LOCAL_MEAN_TIME), "1890-01-01T00:00:00+00:53:28"),
    (time(1, tzinfo=LOCAL_MEAN_TIME), "01:00:00+00:53:28"),
    ({datetime(1890, 1, 1, tzinfo=LOCAL_MEAN_TIME): 1}, {"1890-01-01T00:00:00+00:53:28": 1}),
    (Aliased(1), {"aA": 1, "b": 2}),
]


@pytest.mark.parametrize(("value", "expected"), RULES, ids=lambda each: type(each).__name__)
def test_each_type_has_its_form(value: Any, expected: Any) -> None:
    assert encoded(value) == expected
    assert encoded({"in": [value]}) == {"in": [expected]}


KEYS: list[tuple[Any, str]] = [
    (1, "1"),
    (True, "true"),
    (None, "null"),
    (1.5, "1.5"),
    (2**70, str(2**70)),
    (Colour.RED, "red"),
    (Number.ONE, "1"),
    (Word.A, "a"),
    (date(2024, 2, 29), "2024-02-29"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (Decimal("1.10"), "1.10"),
    (Path("/a"), "/a"),
    (np.int64(3), "3"),
    (np.datetime64("2024-02-29"), "2024-02-29"),
    ("\ud800", "\ud800"),
]


@pytest.mark.parametrize(("key", "expected"), KEYS)
def test_keys_that_are_not_strings_have_their_form(key: Any, expected: str) -> None:
    assert encoded({key: [1]}) == {expected: [1]}


@pytest.mark.parametrize("key", [(1, 2), b"a", frozenset(), float("nan"), object()])
def test_other_keys_are_refused_with_the_place(key: Any) -> None:
    told = refused({"rows": [{}, {key: 1}]})
    assert told.type == "output-not-serializable"
    assert told.path == "outputs.rows[1]"


@pytest.mark.parametrize("pair", [(1, "1"), (None, "null"), (Colour.RED, "red"), (True, "true")])
def test_two_keys_that_become_one_name_are_refused(pair: tuple[Any, Any]) -> None:
    told = refused([{pair[0]: 1, pair[1]: 2}])
    assert told.path == "outputs[0]"
    assert "two keys" in told.detail


LOOP: list[Any] = [1]
LOOP.append({"again": LOOP})
NODE = Node(1)
NODE.next = NODE
PARENT: dict[str, Any] = {"children": [{"id": n} for n in range(50)]}
for child in PARENT["children"]:
    child["parent"] = PARENT


class Raises:
    __dataclass_fields__ = Node.__dataclass_fields__

    @property
    def value(self) -> Any:
        raise ZeroDivisionError("in a property")


REFUSED: list[tuple[Any, str, str]] = [
    (float("nan"), "outputs", "nan is not a JSON number"),
    ({"rows": [{}, {}, {}, {"score": math.inf}]}, "outputs.rows[3].score", "inf"),
    ([1, (2, {"a b": -math.inf})], 'outputs[1][1]["a b"]', "-inf"),
    (Node(Node(math.nan)), "outputs.value.value", "nan"),
    ({1: math.nan}, 'outputs["1"]', "nan"),
    (Model(inner={"x": [math.nan]}), "outputs.inner.x[0]", "nan"),
    (np.float32("nan"), "outputs", "nan"),
    ({"a": np.array([[1, 2], [3, np.nan]])}, "outputs.a[1][1]", "nan"),
    (np.array(["NaT"], dtype="M8[s]"), "outputs", "NaT"),
    ([pd.NaT], "outputs[0]", "NaT"),
    (pd.DataFrame({"a": [1.0, None]}), "outputs[1].a", "nan"),
    ([Decimal("NaN")], "outputs[0]", "NaN"),
    ([Decimal("Infinity")], "outputs[0]", "Infinity"),
    ([pd.DataFrame([[1, 2]], columns=["v", "v"])], "outputs[0]", "columns of the table"),
    (LOOP, "outputs[1].again", "contains itself"),
    (NODE, "outputs.next", "contains itself"),
    (PARENT, "outputs.children[0].parent", "contains itself"),
    ([object()], "outputs[0]", "type object"),
    ({"f": len}, "outputs.f", "builtin_function_or_method"),
    ([int], "outputs[0]", "type"),
    ([1j], "outputs[0]", "complex"),
    ([np.complex64(1)], "outputs[0]", "complex"),
    ([Fraction(1, 3)], "outputs[0]", "Fraction"),
    ([ValueError("x")], "outputs[0]", "ValueError"),
    ({"a": (x for x in [1])}, "outputs.a", "make it a list"),
    ([Raises()], "outputs[0]", "ZeroDivisionError: in a property"),
    ({"n": [10**5000]}, "outputs", "4300"),
]


@pytest.mark.parametrize(("value", "path", "words"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_not_json_is_refused_with_its_place(value: Any, path: str, words: str) -> None:
    told = refused(value)
    assert told.type == "output-not-serializable"
    assert told.path == path
    assert words in told.detail
    assert told.detail.startswith(f"{path}: ")


def test_the_same_object_twice_is_no_cycle() -> None:
    shared = {"a": [b"x"]}
    assert encoded([shared, shared]) == [{"a": ["eA=="]}] * 2
    plain = [1]
    assert encoded([plain, plain, {"a": plain}]) == [[1], [1], {"a": [1]}]


def test_a_value_nested_too_deeply_is_refused() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    assert "nested too deeply" in refused(value).detail
    deep: Any = Node(1)
    for _ in range(2000):
        deep = Node(deep)
    assert "nested too deeply" in refused(deep).detail
    while isinstance(value, list) and value:  # or its end would recurse
        value = value.pop()


@pytest.mark.parametrize("value", ["x" * 99, [1] * 50, {"a": "é" * 47}, b"x" * 74])
def test_the_limit_is_of_bytes_and_exact(value: Any) -> None:
    size = len(outputs.encode(value, limit=LIMIT))
    assert len(outputs.encode(value, limit=size)) == size
    told = refused(value, limit=size - 1)
    assert told.type == "output-too-large"
    assert told.limit == size - 1


def test_a_string_above_the_limit_is_not_encoded() -> None:
    assert refused("x" * 5_000_000, limit=1000).type == "output-too-large"


def test_strings_that_look_like_numbers_are_strings() -> None:
    for text in ["nan", "\nan", "NaN", "Infinity", "-Infinity", "a sentence with Infinity", "null"]:
        assert outputs.encode(text, limit=LIMIT) == json.dumps(text).encode()


def test_text_is_utf8_and_an_unpaired_surrogate_is_an_escape() -> None:
    assert outputs.encode("é\u4e2d\U0001f600", limit=LIMIT) == '"é\u4e2d\U0001f600"'.encode()
    assert outputs.encode("\ud800é", limit=LIMIT) == b'"\\ud800\\u00e9"'


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None, exclude_categories=[]))
)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=15,
)


@given(PLAIN)
@settings(deadline=None)
def test_the_walk_agrees_with_the_fast_path(value: Any) -> None:
    fast = outputs.encode(value, limit=LIMIT)
    assert outputs.encode(outputs.walked(value, limit=LIMIT), limit=LIMIT) == fast
    # An object that must be converted sends everything around it on the walk.
    assert outputs.encode([value, Colour.RED], limit=LIMIT) == b"[" + fast + b',"red"]'


@given(st.recursive(SCALARS | st.just(math.nan) | st.just(-math.inf),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
                    max_leaves=15))  # fmt: skip
@settings(deadline=None)
def test_a_value_is_refused_exactly_if_pythons_own_encoder_refuses_it(value: Any) -> None:
    try:
        expected = json.loads(json.dumps(value, allow_nan=False))
    except ValueError:
        assert refused(value).path is not None
    else:
        assert encoded(value) == expected


@given(st.binary())
def test_bytes_are_standard_base64(data: bytes) -> None:
    assert base64.b64decode(encoded(data), validate=True) == data
