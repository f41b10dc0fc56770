"""Unpaired surrogates are found by their place, and can be replaced."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anypod.wire import unpaired

TEXTS = st.text(st.characters(codec=None, categories=None), max_size=5)
VALUES = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ("\ud800", "inputs"),
        ({"a": "fine", "b": ["x", {"c": "x\udfff"}]}, "inputs.b.1.c"),
        ({"a": {"\ud800": 1}}, "inputs.a.\ud800"),
        ({"first": "\ud800", "second": "\ud800"}, "inputs.first"),
        ({"a": "\U0001f600 é", "b": [1, None, 2.5, True]}, None),
        ([], None),
    ],
)
def test_the_first_is_found_by_its_place(value: Any, place: str | None) -> None:
    assert unpaired.place_in(value, "inputs") == place


def test_what_is_nested_deeply_is_searched() -> None:
    value: Any = "\ud800"
    for _ in range(100_000):
        value = [value]
    place = unpaired.place_in(value, "")
    assert place == ".0" * 100_000


@given(VALUES)
def test_what_is_found_is_what_utf8_cannot_say_and_nothing_is_left_of_it(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        assert unpaired.place_in(value, "") is not None
        json.dumps(unpaired.repaired(value), ensure_ascii=False).encode()
    else:
        assert unpaired.place_in(value, "") is None
        assert unpaired.repaired(value) == value


def test_each_is_replaced_by_one_character() -> None:
    said = {"\ud800": ["a\ud800\ud800b", "\U0001f600"], "n": 1}
    assert unpaired.repaired(said) == {"\ufffd": ["a\ufffd\ufffdb", "\U0001f600"], "n": 1}
