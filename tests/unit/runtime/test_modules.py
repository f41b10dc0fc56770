"""A program behaves as the same files imported as modules do."""

import pickle
from pathlib import Path

import pytest
from tests.support.programs import answer, loaded, loaded_files

RECURSIVE = """
    import math
    from math import floor as down

    LIMIT = 3
    TABLE = [LIMIT * n for n in range(LIMIT)]

    def helper(n):
        return n + LIMIT

    def main(n):
        if n == 0:
            return []
        inner = [helper(k) + LIMIT for k in range(n) if math.sqrt(k) <= down(LIMIT)]
        table = {k: (lambda: TABLE[k])() for k in range(LIMIT)}
        return [inner, list(table.values()), *main(n - 1)]
"""


def test_recursion_helpers_constants_and_comprehensions_see_the_module(tmp_path: Path) -> None:
    assert answer(loaded(tmp_path, RECURSIVE), n=2) == [[6, 7], [0, 3, 6], [6], [0, 3, 6]]


DATACLASS = """
    from __future__ import annotations

    import pickle
    from dataclasses import dataclass, field
    from enum import Enum

    from pydantic import BaseModel

    class Colour(Enum):
        RED = "red"
        GREEN = "green"

    @dataclass
    class Point:
        x: int
        colour: Colour = Colour.RED
        tags: list[str] = field(default_factory=list)
        next: Point | None = None

    class Shape(BaseModel):
        name: str
        points: list[Point]

    def main(shape: Shape, extra: Point) -> Shape:
        copy = pickle.loads(pickle.dumps(shape))
        assert copy == shape and type(copy) is Shape
        assert pickle.loads(pickle.dumps(extra)) == extra
        assert isinstance(extra, Point) and isinstance(extra.colour, Colour)
        copy.points.append(extra)
        return copy
"""


def test_classes_with_string_annotations_are_arguments_and_results(tmp_path: Path) -> None:
    program = loaded(tmp_path, DATACLASS)
    shape = {"name": "line", "points": [{"x": 1, "colour": "green"}]}
    extra = {"x": 2, "next": {"x": 3}}
    for _ in range(2):
        found = answer(program, shape=shape, extra=extra)
        assert found["name"] == "line"
        assert found["points"][0] == {"x": 1, "colour": "green", "tags": [], "next": None}
        assert found["points"][1]["next"]["x"] == 3


def test_equal_class_names_of_two_programs_do_not_clash(tmp_path: Path) -> None:
    source = """
        import pickle
        from dataclasses import dataclass

        @dataclass
        class Item:
            value: {kind}

        def main(item: Item) -> Item:
            assert type(item) is Item
            copy = pickle.loads(pickle.dumps(item))
            assert type(copy) is Item
            return copy
    """
    numbers = loaded(tmp_path, source.replace("{kind}", "int"))
    words = loaded(tmp_path, source.replace("{kind}", "str"))
    for _ in range(3):
        assert answer(numbers, item={"value": 1}) == {"value": 1}
        assert answer(words, item={"value": "a"}) == {"value": "a"}


def test_what_one_execution_pickles_another_revision_can_load(tmp_path: Path) -> None:
    source = """
        import base64, pickle
        class Note:
            def __init__(self, text):
                self.text = text
        def main(data: bytes | None = None):
            return pickle.loads(data).text if data else pickle.dumps(Note("kept"))
    """
    data = answer(loaded(tmp_path, source))
    assert answer(loaded(tmp_path, source + "        VERSION = 2\n"), data=data) == "kept"


def test_the_source_can_be_inspected(tmp_path: Path) -> None:
    source = "import inspect\ndef main():\n    return inspect.getsource(main)\n"
    assert answer(loaded(tmp_path, source)).startswith("def main():")


def test_globals_live_as_long_as_the_program_is_loaded(tmp_path: Path) -> None:
    source = "calls = []\ndef main():\n    calls.append(1)\n    return len(calls)\n"
    program = loaded(tmp_path, source)
    assert [answer(program) for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("name", ["main", "pkg.deep.mod"])
def test_modules_have_their_real_names(tmp_path: Path, name: str) -> None:
    source = "class A: ...\ndef main():\n    return [__name__, A.__module__, main.__module__]\n"
    program = loaded_files(tmp_path, f"{name}:main", **{name.replace(".", "__"): source})
    assert answer(program) == [name] * 3


def test_a_class_of_a_program_is_not_found_once_it_is_set_aside(tmp_path: Path) -> None:
    source = "import pickle\nclass A: ...\ndef main():\n    return pickle.dumps(A())\n"
    data = answer(loaded(tmp_path, source))
    assert isinstance(data, str)
    with pytest.raises(ModuleNotFoundError):
        pickle.loads(b"cmain\nA\n.")


def test_loggers_with_the_names_of_a_programs_modules_are_its_own(tmp_path: Path) -> None:
    source = """
        import logging
        LOG = logging.getLogger(__name__)
        LOG.setLevel(logging.DEBUG)
        SEEN = []
        class Handler(logging.Handler):
            def emit(self, record):
                SEEN.append(record.getMessage())
        LOG.addHandler(Handler())
        def main(text):
            logging.getLogger("main").debug(text)
            return [len(LOG.handlers), SEEN, logging.getLogger("main") is LOG]
    """
    first, second = loaded(tmp_path, source), loaded(tmp_path, source)
    assert answer(first, text="a") == [1, ["a"], True]
    assert answer(second, text="b") == [1, ["b"], True]
    assert answer(first, text="c") == [1, ["a", "c"], True]
