"""What a function takes from around it, as lines that stand before it: imports and constants.

A name is looked up as it is now, so that it is the same in a file and in a notebook: what can be
imported under it is imported, and a value that Python can write down is written down.
"""

import ast
import math
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

_INSTALLED = {Path(path).resolve() for path in sysconfig.get_paths().values()}
_INSTALLED_IN = {"site-packages", "dist-packages"}
_SECRET = re.compile(r"(^|_)(key|secret|token|password|passwd|credentials?)$", re.IGNORECASE)
_LOOKS_SECRET = re.compile(r"(sk-|ghp_|xox[abp]-|AKIA)[\w-]{12,}")
INSIDE = "make it inside the function"


class NotCarried(ValueError):
    """Why a name cannot come along, and what to do."""

    def __init__(self, what: str, to_do: str) -> None:
        super().__init__(what)
        self.what = what
        self.to_do = to_do


def lines_for(name: str, function: FunctionType, tree: ast.AST) -> list[str]:
    """What defines one of the globals that the function uses. Raises NotCarried."""
    value = function.__globals__[name]
    if isinstance(value, ModuleType):
        return list(_imports(name, value, function, tree))
    if line := _imported_from(name, value, function):
        return [line]
    if getattr(value, "__module__", "") == function.__module__ and hasattr(value, "__qualname__"):
        if isinstance(value, type):
            to_do = "take and give dicts, or define it inside the function"
            raise NotCarried(f"{name!r} is a class of the same file", to_do)
        to_do = "define it inside the function"
        raise NotCarried(f"{name!r} is a function of the same file", to_do)
    if not _is_literal(value):
        what = f"{name!r} is a {type(value).__name__}, which has no text that makes it again"
        raise NotCarried(what, INSIDE)
    if _is_secret(name, value):
        to_do = "read it inside the function from os.environ, into which the pool puts it"
        raise NotCarried(f"{name!r} looks like a secret, and programs can be read", to_do)
    return [f"{name} = {value!r}"]


def _imports(name: str, module: ModuleType, function: FunctionType, tree: ast.AST) -> Iterator[str]:
    """And those of its submodules that the function reaches through it."""
    full = module.__name__
    check_shared(full, getattr(module, "__file__", None), function)
    yield f"import {full}" if full == name else f"import {full} as {name}"
    for path in sorted(_paths(name, tree)):
        reached = f"{full}.{path}"
        if reached in sys.modules:
            yield f"import {reached}"


def _paths(name: str, tree: ast.AST) -> set[str]:
    """``b`` and ``b.c`` for each ``name.b.c``."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            dotted = ast.unparse(node)
            if dotted.startswith(f"{name}."):
                found.add(dotted.removeprefix(f"{name}."))
    return found


def _imported_from(name: str, value: Any, function: FunctionType) -> str | None:
    said = getattr(value, "__module__", None)
    if not isinstance(said, str) or said == function.__module__:
        return None
    called = (name, getattr(value, "__name__", name), getattr(value, "_name", name))
    for place in dict.fromkeys((said.partition(".")[0], said)):
        module = sys.modules.get(place)
        for attribute in dict.fromkeys(called):
            if module is not None and getattr(module, str(attribute), None) is value:
                check_shared(place, getattr(module, "__file__", None), function)
                renamed = "" if attribute == name else f" as {name}"
                return f"from {place} import {attribute}{renamed}"
    return None


def check_shared(module: str, file: str | None, function: FunctionType) -> None:
    """That workers may have it, as it is no file beside the function's. Raises NotCarried."""
    if file is None:
        return
    path = Path(file).resolve()
    if not _INSTALLED.isdisjoint(path.parents) or not _INSTALLED_IN.isdisjoint(path.parts):
        return
    folders = (Path(function.__code__.co_filename).resolve().parent, Path.cwd().resolve())
    if not set(folders).isdisjoint(path.parents):
        what = f"{module!r} is a file of yours, which workers do not have"
        raise NotCarried(what, "put what it needs of it inside the function")


def _is_secret(name: str, value: Any) -> bool:
    match value:
        case str():
            return bool(_SECRET.search(name) or _LOOKS_SECRET.match(value))
        case bytes():
            return _is_secret(name, value.decode("latin-1"))
        case dict():
            inner = [pair for key, one in value.items() for pair in ((str(key), one), ("", key))]
            return any(_is_secret(key, one) for key, one in inner)
        case list() | tuple() | set():
            return any(_is_secret(name, inner) for inner in value)
    return False


def _is_literal(value: Any) -> bool:
    match value:
        case None | bool() | int() | str() | bytes():
            return type(value) in (type(None), bool, int, str, bytes)
        case float():
            return type(value) is float and math.isfinite(value)
        case dict():
            return type(value) is dict and all(map(_is_literal, (*value, *value.values())))
        case list() | tuple() | set() | frozenset():
            return type(value) in (list, tuple, set) and all(map(_is_literal, value))
    return False
