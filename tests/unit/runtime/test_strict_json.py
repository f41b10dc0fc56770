"""The parser of inputs takes JSON as RFC 8259 has it, each key once, and nothing else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anypod.wire.strict_json import InvalidJson, loads

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False,
                                                                        allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)  # fmt: skip


@given(JSON)
def test_what_is_json_is_taken_as_python_takes_it(value: Any) -> None:
    text = json.dumps(value)
    assert loads(text) == loads(text.encode()) == value
    assert loads(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.binary())
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    try:
        value = loads(data)
    except InvalidJson:
        return
    assert value == json.loads(data)


@pytest.mark.parametrize("text", ['{"a":1,"a":1}', '[{"":0,"":1}]', '{"a":{"b":1,"\\u0062":2}}'])
def test_a_key_stands_once(text: str) -> None:
    with pytest.raises(InvalidJson, match="stands twice"):
        loads(text)


@pytest.mark.parametrize("text", ["1e309", "-1e999", "1" + "0" * 400 + ".0"])
def test_a_number_beyond_floats_is_refused_and_not_made_infinite(text: str) -> None:
    with pytest.raises(InvalidJson, match="too large"):
        loads(text)
