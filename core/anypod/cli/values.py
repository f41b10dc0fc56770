"""``name=value`` on the command line to a program's inputs.

A value is JSON if it can be read as such, else text: ``n=3`` is a number, ``n='"3"'`` and ``n=abc``
are strings. ``name=@file`` is a file's text, ``name=@file.json`` its JSON, ``name=@-`` is stdin.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anypod.cli.exits import Usage
from anypod.wire import strict_json


def inputs_of(pairs: Sequence[str]) -> dict[str, Any]:
    """Raises Usage."""
    inputs: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise Usage(f"{pair!r} is not name=value")
        if name in inputs:
            raise Usage(f"{name!r} is given twice")
        inputs[name] = _file(name, value[1:]) if value.startswith("@") else _json_or_text(value)
    return inputs


def _json_or_text(value: str) -> Any:
    try:
        return strict_json.loads(value)
    except strict_json.InvalidJson:
        return value


def _file(name: str, path: str) -> Any:
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as reason:
        raise Usage(f"{name}: {path!r} cannot be read: {reason.strerror}") from None
    try:
        return strict_json.loads(data) if path.endswith(".json") else data.decode()
    except (strict_json.InvalidJson, UnicodeDecodeError) as reason:
        what = "JSON" if path.endswith(".json") else "text"
        raise Usage(f"{name}: {path!r} is not {what}: {reason}") from None
