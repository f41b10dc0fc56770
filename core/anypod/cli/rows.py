"""The inputs of a batch from a file: lines of JSON, or rows of CSV under the names of its head.

Lines of JSON go on as they are, for it is the gateway that says what is wrong with one. A cell is
text; where the program wants something else it is made that if it can be, and if not, it is the
program's to refuse: but for columns of which the caller says that they have to fit.
"""

import csv
import io
import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO, cast

from anypod.api.ndjson import LineSplitter
from anypod.cli.exits import Usage

LONGEST = 256 * 1024 * 1024
"""Bytes of a line: no pool takes more."""
PIECE = 64 * 1024
_BOM = b"\xef\xbb\xbf"
_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}

Schema = Mapping[str, Any]


class Form(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"


def form_of(path: str, given: Form | None) -> Form:
    return given or (Form.CSV if path.lower().endswith(".csv") else Form.JSONL)


def opened(path: str) -> io.FileIO:
    """``-`` is stdin. Raises Usage.

    Without a buffer of its own: it is read in a thread, and Python cannot end while a thread is in
    a buffer's lock.
    """
    try:
        return io.FileIO(0, closefd=False) if path == "-" else io.FileIO(path)
    except OSError as reason:
        raise Usage(f"{path} cannot be read: {reason.strerror}") from None


def count(path: str, form: Form) -> int | None:
    """Of its items, if that can be told without using it up; of CSV, about."""
    if path == "-" or not Path(path).is_file():
        return None
    last, lines = b"\n", 0
    with Path(path).open("rb") as file:
        while piece := file.read(1 << 20):
            lines += piece.count(b"\n")
            last = piece[-1:]
    return max(0, lines + (last != b"\n") - (form is Form.CSV))


def read(
    file: io.RawIOBase, form: Form, schema: Schema | None, must_fit: Collection[str] = ()
) -> Iterator[bytes]:
    """The JSON of each item; blank lines of JSONL too, as their numbers count. Raises Usage, also
    for cells of the columns of ``must_fit`` that are not what the schema says."""
    return _rows(file, schema or {}, must_fit) if form is Form.CSV else _lines(file)


def _lines(file: io.RawIOBase) -> Iterator[bytes]:
    for number, line in enumerate(_split(file), start=1):
        if line is None:
            raise Usage(f"line {number} is longer than {LONGEST} bytes")
        yield line.removeprefix(_BOM) if number == 1 else line


def _split(file: io.RawIOBase) -> Iterator[bytes | None]:
    splitter = LineSplitter(LONGEST)
    while piece := file.read(PIECE):
        yield from splitter.feed(piece)
    yield from splitter.end()


def _rows(file: io.RawIOBase, schema: Schema, must_fit: Collection[str]) -> Iterator[bytes]:
    text = io.TextIOWrapper(cast("BinaryIO", file), encoding="utf-8-sig", newline="")
    reader = csv.reader(text, strict=True)
    number = 0
    try:
        head = next(reader, [])
        kinds = [_Kind.of(schema, name, name in must_fit) for name in _checked(head)]
        for number, row in enumerate(filter(None, reader), start=1):
            if len(row) > len(head):
                raise Usage(f"row {number} has {len(row)} cells, and the head {len(head)}")
            try:
                yield json.dumps(dict(_values(head, kinds, row))).encode()
            except Unfit as wrong:
                line = reader.line_num - sum(cell.count("\n") for cell in row)
                raise Usage(f"line {line}, column {wrong.column!r}: {wrong}") from None
    except (csv.Error, UnicodeDecodeError) as wrong:
        raise Usage(f"row {number + 1} is no CSV in UTF-8: {wrong}") from None
    finally:
        with suppress(ValueError):  # it is closed already, where the batch broke off
            text.detach()  # by who opened it


def _checked(head: list[str]) -> list[str]:
    for at, name in enumerate(head):
        if not name or name in head[:at]:
            raise Usage(f"the head of the table names column {at + 1} {name!r}; names differ")
    return head


class Unfit(ValueError):
    """A cell that is not what its column has to have."""

    def __init__(self, column: str, why: str) -> None:
        super().__init__(why)
        self.column = column


def _values(head: list[str], kinds: "list[_Kind]", row: list[str]) -> Iterator[tuple[str, Any]]:
    """Raises Unfit."""
    for name, kind, cell in zip(head, kinds, row, strict=False):
        if kind.has(cell):
            value = kind.value(cell)
            if why := kind.refusal(value):
                raise Unfit(name, why)
            yield name, value


class _Kind:
    """What a column's cells are made into."""

    def __init__(self, types: frozenset[str], allowed: list[Any], must_fit: bool) -> None:
        self._types = types
        self._allowed = allowed
        self._must_fit = must_fit
        self._is_text = not types or "string" in types
        self._empty = "null" in types

    @classmethod
    def of(cls, schema: Schema, name: str, must_fit: bool) -> "_Kind":
        given = schema.get("properties", {}).get(name, {})
        types = frozenset(_types(given, schema.get("$defs", {})))
        return cls(types, given.get("enum", []), must_fit)

    def has(self, cell: str) -> bool:
        """An empty cell is nothing, where text is not what is wanted."""
        return bool(cell) or self._is_text or self._empty

    def value(self, cell: str) -> Any:
        if not cell and self._empty:
            return None
        if self._is_text:
            return cell
        word = cell.strip()
        if "integer" in self._types and _INTEGER.fullmatch(word) and len(word) < 1000:
            return int(word)
        if "number" in self._types and _NUMBER.fullmatch(word) and isfinite(float(word)):
            return float(word)
        if "boolean" in self._types:
            return _BOOLEANS.get(word.lower(), cell)
        return _of_json(cell) if self._types & {"array", "object"} else cell

    def refusal(self, value: Any) -> str | None:
        """Why a value cannot be in this column."""
        if not self._must_fit:
            return None
        shown = json.dumps(value, ensure_ascii=False)[:100]
        if self._allowed and value not in self._allowed:
            return f"{shown} is none of {', '.join(map(json.dumps, self._allowed))}"
        kind = _TYPES[type(value)]
        wanted = self._types | ({"integer"} if "number" in self._types else set())
        if self._types and kind not in wanted:
            return f"{shown} is no {' or '.join(sorted(self._types))}"
        return None


_TYPES = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    type(None): "null",
    list: "array",
    dict: "object",
}


def _of_json(cell: str) -> Any:
    """The cell itself, if it is none."""
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    return value if isinstance(value, list | dict) else cell


def _types(schema: Schema, defined: Mapping[str, Any]) -> Iterator[str]:
    given = schema.get("type", ())
    yield from [given] if isinstance(given, str) else given
    for one in schema.get("anyOf", ()):
        yield from _types(one, defined)
    if known := defined.get(schema.get("$ref", "").removeprefix("#/$defs/")):
        yield from _types(known, {})  # a type that is only another's name is none
