"""Items of files: lines as they are, and cells as what the program wants."""

import csv
import io
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anypod.cli import rows
from anypod.cli.exits import Usage
from anypod.cli.rows import Form

SCHEMA = {
    "properties": {
        "text": {"type": "string"},
        "whole": {"type": "integer"},
        "part": {"type": "number"},
        "yes": {"type": "boolean"},
        "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    }
}


def raw(data: bytes) -> io.FileIO:
    reading, writing = os.pipe()
    threading.Thread(target=_write, args=(writing, data)).start()
    return io.FileIO(reading)


def _write(writing: int, data: bytes) -> None:
    with io.FileIO(writing, "w") as file:
        file.write(data)


def table(text: str | bytes, schema: Any = SCHEMA) -> list[dict[str, Any]]:
    data = text.encode() if isinstance(text, str) else text
    with raw(data) as file:
        return [json.loads(item) for item in rows.read(file, Form.CSV, schema)]


def cell(name: str, text: str) -> Any:
    """None where the input is left out."""
    (found,) = table(f"{name},end\n{text},x\n")
    return found.get(name, "left out")


@pytest.mark.parametrize(
    ("name", "text", "meant"),
    [
        ("text", "3", "3"),
        ("text", "", ""),
        ("whole", "3", 3),
        ("whole", " -3 ", -3),
        ("whole", "1" * 40, int("1" * 40)),
        ("whole", "3.5", "3.5"),
        ("whole", "1_000", "1_000"),
        ("whole", "", "left out"),
        ("part", "3", 3.0),
        ("part", "-.5e2", -50.0),
        ("part", "nan", "nan"),
        ("part", "1e999", "1e999"),
        ("part", "1" * 400, "1" * 400),
        ("part", f"{'1' * 300}e99", f"{'1' * 300}e99"),
        ("yes", "True", True),
        ("yes", "0", False),
        ("yes", "perhaps", "perhaps"),
        ("maybe", "", None),
        ("maybe", "7", 7),
        ("either", "7", "7"),
        ("unknown", "7", "7"),
    ],
)
def test_a_cell_is_what_the_program_wants_if_it_can_be(name: str, text: str, meant: Any) -> None:
    assert cell(name, text) == meant


LABELS = {
    "properties": {
        "text": {"type": "string"},
        "label": {"enum": ["good", "bad"], "type": "string"},
        "count": {"type": "integer"},
        "part": {"type": "number"},
        "maybe": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "line": {"$ref": "#/$defs/Line"},
    },
    "$defs": {"Line": {"type": "object"}},
}


def fitting(text: str) -> list[dict[str, Any]]:
    with raw(text.encode()) as file:
        items = rows.read(file, Form.CSV, LABELS, LABELS["properties"])
        return [json.loads(item) for item in items]


def test_columns_that_have_to_fit_are_what_the_schema_says() -> None:
    head = "text,label,count,part,maybe,tags,line,other\n"
    line = """7,good,3,3,,"[""a"", ""b""]","{""n"": 1}",x\n"""
    assert fitting(head + line) == [
        {
            "text": "7",
            "label": "good",
            "count": 3,
            "part": 3.0,
            "maybe": None,
            "tags": ["a", "b"],
            "line": {"n": 1},
            "other": "x",
        }
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('text,count\na,1\n"b\nc",many\n', "line 3, column 'count': \"many\" is no integer"),
        ('text,count\n"b\nc",1\nd,1.5\n', "line 4, column 'count': \"1.5\" is no integer"),
        ("label\ngood\nugly\n", 'line 3, column \'label\': "ugly" is none of "good", "bad"'),
        ("maybe\nperhaps\n", '"perhaps" is no boolean or null'),
        ("tags\na b\n", '"a b" is no array'),
        ("line\n[1]\n", "\\[1\\] is no object"),
    ],
)
def test_a_cell_that_does_not_fit_is_told_with_line_and_column(text: str, said: str) -> None:
    with pytest.raises(Usage, match=said):
        fitting(text)


def test_without_a_schema_all_is_text() -> None:
    assert table("whole\n3\n", None) == [{"whole": "3"}]


def test_a_table_may_have_a_mark_quotes_line_ends_and_short_rows() -> None:
    text = b'\xef\xbb\xbftext,whole\r\n"a\nb, c",1\r\n\r\nd\r\n'
    assert table(text) == [{"text": "a\nb, c", "whole": 1}, {"text": "d"}]
    assert table("") == []


names = st.lists(
    st.text(st.characters(exclude_categories=("Cs", "Cc"))).filter(bool), min_size=1, unique=True
)


@given(st.data(), names)
def test_what_is_written_as_csv_is_read(data: st.DataObject, head: list[str]) -> None:
    text = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\0"))
    row = st.lists(text, min_size=len(head), max_size=len(head)).filter(any)
    written = data.draw(st.lists(row, max_size=5))
    file = io.StringIO(newline="")
    csv.writer(file).writerows([head, *written])
    found = table("\ufeff" + file.getvalue(), None)
    assert found == [dict(zip(head, one, strict=True)) for one in written]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a,b\n1,2,3\n", "row 1 has 3 cells, and the head 2"),
        (b"a,a\n", "column 2 'a'"),
        (b"a,\n", "column 2 ''"),
        (b'a\n1\n"open\n', "row 2 is no CSV"),
        (b"a\n\xff\n", "no CSV in UTF-8"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(text: bytes, said: str) -> None:
    with pytest.raises(Usage, match=said):
        table(text)


def test_lines_are_passed_on_as_they_are() -> None:
    data = b'\xef\xbb\xbf{"a": 1}\n\nnope\n{"a":\xff}'
    with raw(data) as file:
        found = list(rows.read(file, Form.JSONL, None))
    assert found == [b'{"a": 1}', b"", b"nope", b'{"a":\xff}']


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LONGEST", 10)
    with raw(b"{}\n" + b"x" * 50) as file, pytest.raises(Usage, match="line 2 is longer"):
        list(rows.read(file, Form.JSONL, None))


def test_the_form_is_that_of_the_name_unless_it_is_given() -> None:
    assert rows.form_of("a.CSV", None) is Form.CSV
    assert rows.form_of("-", None) is Form.JSONL
    assert rows.form_of("a.csv", Form.JSONL) is Form.JSONL


def test_items_are_counted_beforehand_where_they_can_be(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for text, lines in (("", 0), ("a", 1), ("a\nb\n", 2), ("a\nb\nc", 3)):
        file.write_text(text)
        assert rows.count(str(file), Form.JSONL) == lines
    assert rows.count(str(file), Form.CSV) == 2
    assert rows.count("-", Form.CSV) is None
    assert rows.count(str(tmp_path), Form.CSV) is None


def test_a_table_that_is_left_in_the_middle_leaves_no_word_on_stderr() -> None:
    with raw(b"text\na\nb\n") as file:
        items = rows.read(file, Form.CSV, SCHEMA)
        assert next(items) == b'{"text": "a"}'
    items.close()  # type: ignore[attr-defined]
