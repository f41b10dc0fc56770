"""``FILE.py:NAME`` to an object: the file is imported, as Python would, and the name looked up."""

import contextlib
import importlib.util
import re
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import dspy

MODULE = "_anypod_pushed"
"""Under which the file is imported: of its own name there may be a module already."""
_TARGET = re.compile(r"(?P<file>.+\.py):(?P<name>[^\W\d]\w*(\.[^\W\d]\w*)*)")


class NotFound(ValueError):
    """There is no such object; the message says why."""


@dataclass(frozen=True, slots=True)
class Found:
    name: str
    file: Path
    object: Any
    others: tuple[str, ...]
    """Modules of the file under other names."""


def find(target: str) -> Found:
    """Raises NotFound."""
    match = _TARGET.fullmatch(target)
    if match is None:
        raise NotFound(f"{target!r} is not FILE.py:NAME")
    file = Path(match["file"])
    module = _imported(file)
    there = {name: one for name, one in vars(module).items() if isinstance(one, dspy.Module)}
    found: Any = module
    for name in match["name"].split("."):
        found = getattr(found, name, None)
    if found is None:
        listed = ", ".join(there) or "none"
        raise NotFound(f"{file} has no {match['name']!r}; modules of DSPy in it: {listed}")
    others = tuple(name for name, one in there.items() if one is not found)
    return Found(match["name"], file, found, others)


def _imported(file: Path) -> ModuleType:
    """What it prints goes to stderr."""
    if not file.is_file():
        raise NotFound(f"{file} is no file")
    spec = importlib.util.spec_from_file_location(MODULE, file.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module
    sys.path.insert(0, str(file.resolve().parent))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's own code
        raise NotFound(f"{file} cannot be imported: {_told(error, file)}") from None
    return module


def _told(error: BaseException, file: Path) -> str:
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(file.resolve())
    ]
    where = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {error}{where}"
