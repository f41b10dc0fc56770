"""What DSPy shows and reads is the same with our adapters as with its own."""

import datetime as dt
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from dspy.adapters import utils
from pydantic import BaseModel, TypeAdapter

from anypod_worker.kinds.dspy import adapters


class Line(BaseModel):
    product: str
    count: int = 1


SHOWN = ["a", "", 1, 2.5, True, None, [1, "a", None], {"a": [1.5]}, Line(product="pen"),
         [Line(product="pen")], {"a": dt.date(2020, 1, 2)}, object]  # fmt: skip
READ: list[tuple[Any, Any]] = [
    ("1", int), ("1.5", float), ("true", bool), ("[1, 2]", list), ('{"a": 1}', dict),
    ("[1, 2]", list[int]), ('{"product": "pen"}', Line), ("b", Literal["a", "b"]),
    ("3", int | str), ("null", str | None), (3, int),
]  # fmt: skip


@pytest.fixture(autouse=True)
def theirs() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "TypeAdapter", TypeAdapter)
        yield


@pytest.mark.parametrize("value", SHOWN)
def test_a_value_is_shown_the_same(value: Any) -> None:
    before = utils.serialize_for_json(value)
    adapters.remember()
    adapters.remember()
    assert utils.serialize_for_json(value) == before


@pytest.mark.parametrize(("value", "annotation"), READ)
def test_a_value_is_read_the_same(value: Any, annotation: Any) -> None:
    before = utils.parse_value(value, annotation)
    adapters.remember()
    after = utils.parse_value(value, annotation)
    assert after == before
    assert type(after) is type(before)


def test_dspy_makes_adapters_where_ours_take_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    adapters.remember()
    monkeypatch.setattr(
        adapters, "TypeAdapter", lambda type_: made.append(type_) or TypeAdapter(type_)
    )
    utils.serialize_for_json("a")
    assert made == []
    utils.serialize_for_json((1,))
    assert made == [tuple]
