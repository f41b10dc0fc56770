"""What is known of a program without running it."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from tests.support.forked import in_executor, interrupted_when
from tests.support.programs import loaded

from anypod_worker.runtime import outputs
from anypod_worker.runtime.loading import InvalidProgram
from anypod_worker.runtime.signatures import describe

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas(directory: Path, source: str) -> tuple[dict[str, Any], dict[str, Any]]:
    found = describe(loaded(directory, source))
    taken, given = json.loads(found.inputs_schema), json.loads(found.outputs_schema)
    assert taken.pop("$schema") == given.pop("$schema") == DIALECT
    return taken, given


def test_a_function_without_annotations_has_the_names_of_its_inputs(tmp_path: Path) -> None:
    inputs, outputs = schemas(tmp_path, "def main(a, b=[1], *, c=None): ...\n")
    assert inputs == {
        "type": "object",
        "additionalProperties": False,
        "required": ["a"],
        "properties": {
            "a": {"title": "A"},
            "b": {"title": "B", "default": [1]},
            "c": {"title": "C", "default": None},
        },
    }
    assert outputs == {}


def test_outputs_have_the_names_that_their_schema_says(tmp_path: Path) -> None:
    source = """
        from dataclasses import dataclass
        import pydantic
        from pydantic import BaseModel, Field
        from pydantic.alias_generators import to_camel
        class Model(BaseModel):
            some_name: int = Field(alias="someName")
        class Camel(BaseModel, alias_generator=to_camel, populate_by_name=True):
            other_name: int
        @pydantic.dataclasses.dataclass
        class Pydantic:
            third_name: int = Field(alias="thirdName")
        @dataclass
        class Plain:
            model: Model
            camel: Camel
            data: Pydantic
        def main() -> Plain:
            return Plain(Model(someName=1), Camel(other_name=2), Pydantic(thirdName=3))
    """
    _, schema = schemas(tmp_path, source)
    told = outputs.encode(loaded(tmp_path, source).entry(), limit=10_000)
    jsonschema_rs.validate(schema, json.loads(told))
    assert b"someName" in told


def test_annotations_are_in_the_schemas(tmp_path: Path) -> None:
    source = """
        from dataclasses import dataclass
        from typing import Annotated, Literal
        from pydantic import Field
        @dataclass
        class Row:
            score: float
            note: str | None = None
        def main(rows: list[Row], data: bytes, kind: Literal["a", "b"] = "a",
                 size: Annotated[int, Field(gt=0, description="how many")] = 1) -> dict[str, Row]:
            ...
    """
    inputs, outputs = schemas(tmp_path, source)
    properties = inputs["properties"]
    assert properties["rows"]["items"] == {"$ref": "#/$defs/Row"}
    assert properties["data"] == {"title": "Data", "type": "string", "contentEncoding": "base64"}
    assert properties["kind"]["enum"] == ["a", "b"]
    assert properties["kind"]["default"] == "a"
    assert properties["size"]["exclusiveMinimum"] == 0
    assert properties["size"]["description"] == "how many"
    assert inputs["$defs"]["Row"]["properties"]["score"]["type"] == "number"
    assert sorted(inputs["required"]) == ["data", "rows"]
    assert outputs["additionalProperties"] == {"$ref": "#/$defs/Row"}
    assert "Row" in outputs["$defs"]


@pytest.mark.parametrize(
    ("others", "expected"), [("**others", True), ("**others: int", {"type": "integer"})]
)
@pytest.mark.parametrize("parameters", ["", "a, ", "a: int, "])
def test_kwargs_are_additional_properties(
    tmp_path: Path, parameters: str, others: str, expected: Any
) -> None:
    inputs, _ = schemas(tmp_path, f"def main({parameters}{others}): ...\n")
    assert inputs["additionalProperties"] == expected
    assert list(inputs["properties"]) == (["a"] if parameters else [])
    assert inputs.get("required", []) == (["a"] if parameters else [])


@pytest.mark.parametrize(
    ("source", "streams", "outputs"),
    [
        ("def main() -> int: ...\n", False, {"type": "integer"}),
        ("async def main() -> int: ...\n", False, {"type": "integer"}),
        ("def main() -> Coroutine[None, None, int]: ...\n", False, {"type": "integer"}),
        ("def main() -> Awaitable[int]: ...\n", False, {"type": "integer"}),
        ("def main() -> Iterator[int]:\n    yield 1\n", True, {"items": {"type": "integer"}}),
        ("def main() -> Iterable[int]:\n    yield 1\n", True, {"items": {"type": "integer"}}),
        ("def main() -> Generator[int, None, str]:\n    yield 1\n", True,
         {"items": {"type": "integer"}}),
        ("async def main() -> AsyncIterator[int]:\n    yield 1\n", True,
         {"items": {"type": "integer"}}),
        ("def main():\n    yield 1\n", True, {"items": {}}),
        ("def main() -> Iterator[int]:\n    return iter([1])\n", True,
         {"items": {"type": "integer"}}),
        ("def main() -> 'Missing': ...\n", False, {}),
        ("def main() -> object: ...\n", False, {}),
        ("class A: ...\ndef main() -> A: ...\n", False, {}),
        ("def main() -> None: ...\n", False, {"type": "null"}),
    ],
)  # fmt: skip
def test_the_return_annotation_is_the_schema_of_the_outputs(
    tmp_path: Path, source: str, streams: bool, outputs: dict[str, Any]
) -> None:
    imports = (
        "from collections.abc import (AsyncIterator, Awaitable, Coroutine, Generator, Iterable,"
        " Iterator)\n"
    )
    program = loaded(tmp_path, imports + source)
    assert describe(program).streams is streams
    _, found = schemas(tmp_path, imports + source)
    if streams:
        assert found.pop("type") == "array"
    assert found == outputs


def test_what_has_no_word_in_json_schema_is_anything(tmp_path: Path) -> None:
    source = (
        "from collections.abc import Callable\nclass Tool: ...\n"
        "def main(f: Callable[[int], int] = len, t: Tool = Tool(), d: float = float('inf'),\n"
        "         text: str = 'x' * 5000): ...\n"
    )
    inputs, _ = schemas(tmp_path, source)
    assert inputs["properties"] == {
        "f": {"title": "F"},
        "d": {"title": "D", "type": "number"},
        "text": {"title": "Text", "type": "string"},
    }


def test_the_session_is_not_an_input(tmp_path: Path) -> None:
    inputs, _ = schemas(tmp_path, "def main(session, a): ...\n")
    assert list(inputs["properties"]) == ["a"]


def test_the_docstring_is_told(tmp_path: Path) -> None:
    source = 'def main():\n    """Counts words.\n\n    Twice.\n    """\n'
    assert describe(loaded(tmp_path, source)).doc == "Counts words.\n\nTwice."
    assert describe(loaded(tmp_path, "def main(): ...\n")).doc is None


@pytest.mark.parametrize("annotation", ["A", "list[A]", "A | None", "dict[str, A]"])
def test_a_required_input_that_json_cannot_become_is_refused(
    tmp_path: Path, annotation: str
) -> None:
    program = loaded(tmp_path, f"class A: ...\ndef main(good: int, bad: {annotation}): ...\n")
    with pytest.raises(InvalidProgram) as raised:
        describe(program)
    assert raised.value.failure.type == "invalid-program"
    assert "'bad'" in raised.value.failure.detail


def test_a_type_of_the_program_that_raises_is_its_fault(tmp_path: Path) -> None:
    source = """
        class Odd:
            @classmethod
            def __get_pydantic_core_schema__(cls, source, handler):
                raise ZeroDivisionError("odd")
        def main(x: Odd): ...
    """
    with pytest.raises(InvalidProgram) as raised:
        describe(loaded(tmp_path, source))
    assert raised.value.failure.exception == "ZeroDivisionError"


def test_a_schema_without_end_is_interrupted(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    source = f"""
        class Endless:
            @classmethod
            def __get_pydantic_core_schema__(cls, source, handler):
                open({str(ready)!r}, "w").close()
                while True:
                    pass
        def main(x: Endless): ...
    """

    def body(_baseline: object) -> bool:
        program = loaded(tmp_path, source)
        with interrupted_when(ready), pytest.raises(InvalidProgram) as raised:
            describe(program)
        return raised.value.interrupted

    assert in_executor(body).value is True
