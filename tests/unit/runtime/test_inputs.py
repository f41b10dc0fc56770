"""Inputs become arguments, or the caller is told which and why not."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.programs import answer, executed, failure, loaded

from anypod_worker.runtime.loading import LoadedProgram

PLAIN = "def main(a, b=2, *, c=3):\n    return [a, b, c]\n"
TYPED = "def main(a: int, b: int = 2, *, c: int = 3) -> list[int]:\n    return [a, b, c]\n"


@pytest.mark.parametrize("source", [PLAIN, TYPED])
def test_defaults_are_the_functions_own(tmp_path: Path, source: str) -> None:
    program = loaded(tmp_path, source)
    assert answer(program, a=1) == [1, 2, 3]
    assert answer(program, a=1, c=5) == [1, 2, 5]
    assert answer(program, c=5, b=4, a=1) == [1, 4, 5]


@pytest.mark.parametrize("source", [PLAIN, TYPED])
def test_an_unknown_input_is_named(tmp_path: Path, source: str) -> None:
    told = failure(loaded(tmp_path, source), a=1, z=2, y=3)
    assert told.type == "invalid-inputs"
    assert told.errors is not None
    assert [each["path"] for each in told.errors] == ["inputs.z", "inputs.y"]
    assert "it takes: a, b, c" in told.errors[0]["message"]


@pytest.mark.parametrize("source", [PLAIN, TYPED])
def test_a_missing_input_is_named(tmp_path: Path, source: str) -> None:
    told = failure(loaded(tmp_path, source), b=1)
    assert told.type == "invalid-inputs"
    assert told.errors == [{"path": "inputs.a", "message": "this input is required"}]


@pytest.mark.parametrize(
    "name",
    ["self", "cls", "copy", "json", "model_x", "model_config", "_x", "__x", "f0", "others", "dict",
     "fields", "validate", "schema", "name", "naïve", "model_fields_set", "inputs", "run"],
)  # fmt: skip
@pytest.mark.parametrize("annotation", ["", ": int"])
@pytest.mark.parametrize("kind", ["({}{} = 0)", "({}{} = 0, /)", "(*, {}{} = 0)", "(*a, {}{} = 0)"])
def test_any_name_of_a_parameter_works(
    tmp_path: Path, name: str, annotation: str, kind: str
) -> None:
    parameters = kind.format(name, annotation)
    program = loaded(tmp_path, f"def main{parameters}:\n    return {name}\n")
    assert answer(program, **{name: 7}) == 7
    assert answer(program) == 0


@pytest.mark.parametrize("annotation", ["", ": int"])
def test_positional_only_parameters_between_get_their_defaults(
    tmp_path: Path, annotation: str
) -> None:
    source = f"def main(a{annotation}, b{annotation} = 2, c{annotation} = 3, /):\n"
    program = loaded(tmp_path, source + "    return [a, b, c]\n")
    assert answer(program, a=1, c=9) == [1, 2, 9]
    assert answer(program, a=1) == [1, 2, 3]
    assert failure(program, c=1).type == "invalid-inputs"


@pytest.mark.parametrize("a", ["a", "a: int", "a, /", "a: int, /"])
@pytest.mark.parametrize("others", ["**others", "**others: int"])
def test_other_inputs_go_to_kwargs(tmp_path: Path, a: str, others: str) -> None:
    program = loaded(tmp_path, f"def main({a}, {others}):\n    return [a, others]\n")
    assert answer(program, a=1) == [1, {}]
    given_ = {"f0": 2, "others": 3, "": 4, "self": 5, "not a name": 6}
    assert answer(program, a=1, **given_) == [1, given_]


def test_kwargs_are_checked_by_their_annotation(tmp_path: Path) -> None:
    program = loaded(tmp_path, "def main(a: int, **others: int):\n    return others\n")
    told = failure(program, a=1, b=2, c="x")
    assert told.errors is not None
    assert [each["path"] for each in told.errors] == ["inputs.c"]


def test_a_nested_dataclass_takes_no_unknown_field_whatever_the_function_takes(
    tmp_path: Path,
) -> None:
    source = """
        from dataclasses import dataclass
        @dataclass
        class Row:
            x: int
        def main(row: Row, **others):
            return row
    """
    told = failure(loaded(tmp_path, source), row={"x": 1, "y": 2})
    assert told.errors is not None
    assert told.errors[0]["path"] == "inputs.row.y"


NESTED = """
    from dataclasses import dataclass
    from typing import Annotated, Literal
    from pydantic import BaseModel, Field

    class Row(BaseModel):
        score: Annotated[float, Field(ge=0)]

    @dataclass
    class Table:
        rows: list[Row]
        kind: Literal["a", "b"] = "a"

    def main(table: Table, size: Annotated[int, Field(gt=0, lt=10)] = 1,
             text: int | str | None = None):
        return [type(table).__name__, len(table.rows), table.kind, size, text]
"""


def test_nested_values_are_made_of_the_annotated_types(tmp_path: Path) -> None:
    program = loaded(tmp_path, NESTED)
    assert answer(program, table={"rows": [{"score": 1}]}) == ["Table", 1, "a", 1, None]
    found = answer(program, table={"rows": [], "kind": "b"}, size=9, text="x")
    assert found == ["Table", 0, "b", 9, "x"]


def test_every_refused_field_is_told_with_its_path(tmp_path: Path) -> None:
    rows: list[Any] = [{"score": 1}, {"score": -1}, {}, {"score": "x"}]
    told = failure(loaded(tmp_path, NESTED), table={"rows": rows, "kind": "c"}, size=10)
    assert told.errors is not None
    assert [each["path"] for each in told.errors] == [
        "inputs.table.rows.1.score",
        "inputs.table.rows.2.score",
        "inputs.table.rows.3.score",
        "inputs.table.kind",
        "inputs.size",
    ]
    assert all(each["message"] for each in told.errors)
    assert told.path == "inputs.table.rows.1.score"
    assert "and 2 more" in told.detail


def test_the_list_of_refused_fields_is_bounded(tmp_path: Path) -> None:
    told = failure(loaded(tmp_path, "def main(x: list[int]): ...\n"), x=["a"] * 10_000)
    assert told.errors is not None
    assert len(told.errors) == 50


VALUES = [
    ("datetime", "2024-02-29T12:00:00Z", "datetime.datetime"),
    ("date", "2024-02-29", "datetime.date"),
    ("time", "12:34:56", "datetime.time"),
    ("timedelta", "P1DT2H", "datetime.timedelta"),
    ("UUID", "12345678-1234-5678-1234-567812345678", "uuid.UUID"),
    ("Decimal", "1.10", "decimal.Decimal"),
    ("bytes", "AP/+", "bytes"),
    ("Path", "/a/b", "PosixPath"),
    ("tuple[int, str]", [1, "a"], "tuple"),
    ("frozenset[int]", [3], "frozenset"),
    ("set[int]", [3], "set"),
    ("dict[str, float]", {"a": 1.5}, "dict"),
    ("Colour", "red", "Colour"),
    ("float", 3.0, "float"),
    ("bool", True, "bool"),
    ("complex_model", {"a": [1]}, "dict"),
]


@pytest.mark.parametrize(("annotation", "value", "kind"), VALUES)
def test_values_go_in_as_their_type_and_come_out_as_they_went_in(
    tmp_path: Path, annotation: str, value: Any, kind: str
) -> None:
    source = f"""
        from datetime import date, datetime, time, timedelta
        from decimal import Decimal
        from enum import Enum
        from pathlib import Path
        from typing import Any
        from uuid import UUID
        class Colour(Enum):
            RED = "red"
        complex_model = dict[str, Any]
        def main(x: {annotation}):
            kind = type(x)
            name = kind.__name__
            return [f"{{kind.__module__}}.{{name}}", name, x]
    """
    full, name, out = answer(loaded(tmp_path, source), x=value)
    assert kind in {full, name}
    assert out == value


@pytest.mark.parametrize("annotation", ["", ": int", ": object", ": dict | int"])
@pytest.mark.parametrize("number", [2**63, 2**64 + 1, -(2**70), 10**300 + 7, 10**4000])
def test_integers_of_any_size_are_exact(tmp_path: Path, annotation: str, number: int) -> None:
    program = loaded(tmp_path, f"def main(x{annotation}):\n    return [x, x + 1]\n")
    assert answer(program, x=number) == [number, number + 1]


@pytest.mark.parametrize("source", [PLAIN, TYPED])
@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (b'{"a": 1, "a": 2}', "'a' stands twice"),
        (b'{"a": {"b": 1, "b": 1}}', "'b' stands twice"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": 1e400}', "too large"),
        (b'{"a": ' + b"1" * 5000 + b"}", "4300"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too deeply"),
        (b'{"a": 1', "delimiter"),
        (b'{"a": 1} x', "Extra data"),
        (b"", "Expecting value"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "Expecting value"),
        (b'{"a": 01}', "delimiter"),
        (b"[]", "must be a JSON object, not an array"),
        (b"null", "not null"),
        (b'"a"', "not a string"),
        (b"1.5", "not a number"),
    ],
)
def test_what_is_not_a_json_object_is_a_bad_request(
    tmp_path: Path, source: str, inputs: bytes, words: str
) -> None:
    outcome = executed(loaded(tmp_path, source), inputs)
    assert outcome.failure is not None
    assert outcome.failure.type == "bad-request"
    assert words in outcome.failure.detail
    assert outcome.run_seconds == 0


@pytest.mark.parametrize("annotation", ["", ": object", ": str | list | dict"])
@pytest.mark.parametrize(
    "inputs", [b'{"x":"\\ud800 \xc3\xa9"}', b'{"x":' + b"[" * 300 + b"]" * 300 + b"}"]
)
def test_json_that_pydantics_parser_refuses_still_reaches_the_program(
    tmp_path: Path, annotation: str, inputs: bytes
) -> None:
    outcome = executed(loaded(tmp_path, f"def main(x{annotation}):\n    return x\n"), inputs)
    assert outcome.outputs is not None
    assert json.loads(outcome.outputs) == json.loads(inputs)["x"]


def test_an_exception_in_a_validator_of_the_program_is_its_error(tmp_path: Path) -> None:
    source = """
        from typing import Annotated
        from pydantic import AfterValidator
        def check(value):
            if value == 0:
                raise ValueError("not zero")
            return 1 // (value - 1)
        def main(x: Annotated[int, AfterValidator(check)]): ...
    """
    program = loaded(tmp_path, source)
    told = failure(program, x=0)
    assert told.type == "invalid-inputs"
    assert "not zero" in told.detail
    assert failure(program, x=1).exception == "ZeroDivisionError"


@pytest.mark.parametrize(
    "annotation", ["'Missing'", "'no type'", "3", "'list[Missing]'", "[int]", "'1 +'"]
)
def test_an_annotation_that_says_nothing_stands_for_anything(
    tmp_path: Path, annotation: str
) -> None:
    program = loaded(tmp_path, f"def main(x: {annotation}, y: int):\n    return [x, y]\n")
    assert answer(program, x={"a": 1}, y=2) == [{"a": 1}, 2]
    assert failure(program, x=1, y="z").type == "invalid-inputs"


def test_an_input_that_json_cannot_become_is_refused_by_name(tmp_path: Path) -> None:
    told = failure(loaded(tmp_path, "class A: ...\ndef main(x: int, y: A): ...\n"), x=1, y=2)
    assert told.type == "invalid-program"
    assert "parameter 'y'" in told.detail


def test_a_parameter_that_json_cannot_become_is_no_input_if_it_has_a_default(
    tmp_path: Path,
) -> None:
    source = "class A:\n    n = 5\ndef main(x: int, a: A = A()):\n    return x + a.n\n"
    program = loaded(tmp_path, source)
    assert answer(program, x=1) == 6
    assert failure(program, x=1, a={}).type == "invalid-inputs"


def test_a_callable_without_a_signature_takes_anything(tmp_path: Path) -> None:
    assert answer(loaded(tmp_path, "main = dict\n"), a=1, b=[2]) == {"a": 1, "b": [2]}


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> LoadedProgram:
    return loaded(tmp_path_factory.mktemp("identity"), "def main(x):\n    return x\n")


@pytest.fixture(scope="module")
def typed_identity(tmp_path_factory: pytest.TempPathFactory) -> LoadedProgram:
    source = "def main(x: object, y: int = 1):\n    return x\n"
    return loaded(tmp_path_factory.mktemp("typed"), source)


TEXT = st.text(st.characters(codec=None, exclude_categories=[]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT | st.floats(allow_nan=False,
                                                                   allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=15,
)  # fmt: skip


def _exact(value: Any) -> Any:
    """Equal only if types are equal too, and the sign of zero."""
    if isinstance(value, dict):
        return {key: _exact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_exact(item) for item in value]
    return type(value), value, math.copysign(1, value) if isinstance(value, float) else 0


@given(JSON)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_json_comes_back_exactly(
    identity: LoadedProgram, typed_identity: LoadedProgram, value: Any
) -> None:
    for program in (identity, typed_identity):
        assert _exact(answer(program, x=value)) == _exact(value)


@given(TEXT | st.sampled_from(["nan", "\nan", "NaN", "Infinity", "-Infinity, or so", "\ud800"]))
@settings(deadline=None)
def test_any_text_comes_back_exactly(identity: LoadedProgram, text: str) -> None:
    assert answer(identity, x=text) == text
    assert answer(identity, x={text: [text]}) == {text: [text]}
