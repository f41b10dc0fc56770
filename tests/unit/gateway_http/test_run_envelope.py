"""The envelope of a run: cut open without a look into ``inputs``, and without losing anything."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anypod.api.executions import InvalidRequest, parse_run, parse_run_inline

Json = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.text(st.characters(categories=["Cs"]))
)
values = st.recursive(
    Json, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)
objects = st.dictionaries(st.text(), values, max_size=5)


@st.composite
def texts(draw: st.DrawFn, document: st.SearchStrategy[Any]) -> tuple[Any, bytes]:
    """A value, and one of the ways to write it as JSON."""
    value = draw(document)
    indent = draw(st.none() | st.integers(0, 2))
    ascii_only = draw(st.booleans())
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    try:
        body = text.encode()
    except UnicodeEncodeError:
        body = json.dumps(value, indent=indent).encode()
    return json.loads(body), body


@given(texts(st.fixed_dictionaries({"inputs": objects}, optional={"timeoutSeconds": st.just(5)})))
def test_inputs_come_out_as_they_went_in(case: tuple[Any, bytes]) -> None:
    value, body = case
    inputs, timeout, _ = parse_run(body)
    assert json.loads(inputs) == value["inputs"]
    assert inputs in body
    assert timeout == value.get("timeoutSeconds")


@given(
    texts(
        st.fixed_dictionaries(
            {"program": objects, "inputs": objects}, optional={"timeoutSeconds": st.just(0.5)}
        )
    )
)
def test_an_inline_program_and_its_inputs_are_told_apart(case: tuple[Any, bytes]) -> None:
    value, body = case
    program, (inputs, timeout, _) = parse_run_inline(body)
    assert program == value["program"]
    assert json.loads(inputs) == value["inputs"]
    assert timeout == value.get("timeoutSeconds")


def test_a_program_that_holds_the_text_of_the_inputs_stays_whole() -> None:
    body = b'{"program": {"source": "{}", "files": {}, "labels": {"a": {}}}, "inputs": {}}'
    program, (inputs, _, _) = parse_run_inline(body)
    assert program == {"source": "{}", "files": {}, "labels": {"a": {}}}
    assert inputs == b"{}"


def test_inputs_that_hold_the_text_of_the_program_stay_whole() -> None:
    program, (inputs, _, _) = parse_run_inline(b'{"inputs": {"a": {"b": 1}}, "program": {"b": 1}}')
    assert program == {"b": 1}
    assert inputs == b'{"a": {"b": 1}}'


@pytest.mark.parametrize("body", [b"", b"{}", b'{"timeoutSeconds": 3}'])
def test_absent_inputs_are_an_empty_object(body: bytes) -> None:
    assert parse_run(body)[0] == b"{}"


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": {}, "inputs": {}}',
        b'{"inputs": {"a": 1}, "inputs": {"a": 2}}',
        b'{"inputs": {"a": "\\ud800"}, "inputs": {"a": "\\ud801"}}',
        b'{"inputs": {}, "\\u0069nputs": {"a": 2}}',
        b'{"timeoutSeconds": 1, "inputs": {}, "timeoutSeconds": 2}',
    ],
)
def test_a_key_that_stands_twice_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="stands twice"):
        parse_run(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"program": {}, "program": {}}',
        b'{"program": {"source": "a", "source": "b"}}',
        b'{"program": {}, "inputs": {}, "inputs": {}}',
    ],
)
def test_a_key_that_stands_twice_is_refused_inline_too(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="stands twice"):
        parse_run_inline(body)


@pytest.mark.parametrize(
    ("body", "message", "path"),
    [
        (b"{", "truncated", None),
        (b"[]", "Expected `object`", None),
        (b"\xef\xbb\xbf{}", "malformed", None),
        (b'{"inputs": {"a": NaN}}', "malformed", None),
        (b'{"inputs": {"a": "\xff"}}', "not UTF-8", None),
        (b'{"inputs": {"a": 01}}', "invalid number", None),
        (b'{"inputs": {}} {}', "trailing", None),
        (b'{"inputs": null}', "must be a JSON object", "inputs"),
        (b'{"inputs": [1]}', "must be a JSON object", "inputs"),
        (b'{"input": {}}', "unknown field `input`", None),
        (rb'{"\ud800": 1}', r"unknown field `\\ud800`", None),
        (rb'{"\\ud800": 1}', r"unknown field `\\ud800`", None),
        (rb'{"lm": {"\udfff": 1}}', r"unknown field `\\udfff`", "lm"),
        (b'{"timeoutSeconds": "5"}', "Expected `float", "timeoutSeconds"),
        (b'{"timeoutSeconds": 0}', "> 0", "timeoutSeconds"),
        (b'{"timeoutSeconds": 1e999}', "out of range", "timeoutSeconds"),
        (b'{"timeoutSeconds": 1' + b"0" * 400 + b"}", "out of range", "timeoutSeconds"),
        (b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply", None),
        (b'{"inputs": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, "nested too deeply", None),
    ],
)
def test_what_is_wrong_is_said(body: bytes, message: str, path: str | None) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        parse_run(body)
    assert caught.value.path == path


@given(st.binary(max_size=60))
def test_any_bytes_are_a_request_or_refused(body: bytes) -> None:
    for parse in (parse_run, parse_run_inline):
        try:
            parse(body)
        except InvalidRequest:
            continue


def test_strings_keep_their_unpaired_surrogates_and_their_backslashes() -> None:
    inputs = rb'{"a": "\ud800 \\ud800 \\\udfff \u0020 \ud83d\ude00"}'
    assert parse_run(b'{"inputs": ' + inputs + b"}")[0] == inputs


def test_the_name_of_an_lm_is_as_it_was_sent() -> None:
    for body in (rb'{"lm": "\ud800"}', rb'{"lm": {"name": "\\ud800"}}'):
        _, _, lm = parse_run(body)
        assert lm is not None
        assert lm.name == r"\ud800"


def test_a_large_integer_is_carried_exactly() -> None:
    inputs = b'{"n": ' + b"9" * 5000 + b"}"
    assert parse_run(b'{"inputs": ' + inputs + b"}")[0] == inputs
