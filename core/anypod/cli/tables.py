"""Results on stdout: columns for people and for awk, or JSON.

Columns are never cut and carry no colour but a bold head on a terminal, so a pipe gets all.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel

from anypod.cli.options import Format
from anypod.cli.waiting import Waiting, waiting
from anypod.printable import escaped, printable

_GAP = "   "


Item = TypeVar("Item", bound=BaseModel)
Column = str | Callable[[Item], Any]
"""An attribute's path, or what makes a value of an item."""


def show_all(items: Iterable[Item], output: Format, columns: Mapping[str, Column[Item]]) -> None:
    """``columns`` by their heads."""
    with asking():
        found = list(items)
    if output is Format.JSON:
        show_json([item.model_dump(mode="json", by_alias=True) for item in found])
        return
    rows = [[text(_at(item, path)) for path in columns.values()] for item in found]
    for line in aligned([list(columns), *rows]):
        out(line)


def asking() -> AbstractContextManager[Waiting]:
    """While the gateway is asked; nothing may be printed meanwhile."""
    return waiting("asking the gateway")


def show_one(item: BaseModel, output: Format, *, leave_out: Sequence[str] = ()) -> None:
    if output is Format.JSON:
        show_json(item.model_dump(mode="json", by_alias=True))
        return
    document = item.model_dump(by_alias=True)
    rows = [[f"{name}:", text(value)] for name, value in document.items() if name not in leave_out]
    for line in aligned(rows, head=False):
        out(line)


def told(sentence: str, output: Format, **document: Any) -> None:
    """What has been done: on stderr for people, or as a line of JSON."""
    if output is Format.JSON:
        _show_json(document, None)
    else:
        print(sentence, file=sys.stderr)  # noqa: T201


def show_json(value: Any) -> None:
    """Indented for a terminal, one line elsewhere."""
    _show_json(value, 2 if sys.stdout.isatty() else None)


def _show_json(value: Any, indent: int | None) -> None:
    try:
        out(escaped(json.dumps(value, indent=indent, ensure_ascii=False)))
    except UnicodeEncodeError:  # an unpaired surrogate, or a terminal that is not UTF-8
        out(json.dumps(value, indent=indent))


def out(line: str) -> None:
    print(line)  # noqa: T201


def aligned(rows: Sequence[Sequence[str]], *, head: bool = True) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        _GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    if head and sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        lines[0] = f"\033[1m{lines[0]}\033[0m"
    return lines


def text(value: Any) -> str:
    """A value in a cell."""
    return printable(_text(value))


def _text(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return "-"
    match value:
        case bool():
            return "yes" if value else "no"
        case datetime():
            return f"{age(value)} ago" if value <= datetime.now(UTC) else f"in {age(value)}"
        case dict() if not any(isinstance(one, dict | list) for one in value.values()):
            return ", ".join(f"{name}={_text(one)}" for name, one in value.items())
        case dict():
            return json.dumps(value, ensure_ascii=False, default=str)
        case list():
            return ", ".join(map(_text, value))
        case float():
            return f"{value:g}"
    return " ".join(str(value).split())


def age(when: datetime) -> str:
    """How far from now, in the largest unit that says something."""
    seconds = abs((datetime.now(UTC) - when).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds / length)}{unit}"
    return f"{int(seconds)}s"


def size(count: int) -> str:
    return f"{count / 2**20:.0f}Mi"


def _at(item: Any, path: Column[Any]) -> Any:
    if callable(path):
        return path(item)
    for name in path.split("."):
        item = getattr(item, name)
    return item
