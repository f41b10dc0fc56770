"""Pools from a manifest: YAML with one or more WorkerPool documents, or none at all.

What is wrong with a manifest is said with its line, the field's path, and what is allowed.
"""

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from anypod.local.settings import CannotStart, Settings
from anypod.local.surroundings import with_values
from anypod.resources.workerpool import API_VERSION, KIND, WorkerPool

DEFAULT_POOL = "default"
_SHARED = ("dspy",)
"""Slow to import, and without anything of a pool in them."""


def pools(settings: Settings) -> list[WorkerPool]:
    """What is to be run, with what the command line says put over it. Raises CannotStart."""
    found = [_plain()] if settings.manifest is None else _read(settings.manifest)
    changes = {
        "replicas": settings.workers,
        "executors": settings.executors,
        "preload": None if settings.preload is None else list(settings.preload),
    }
    return [with_values(_changed(pool, changes), os.environ) for pool in found]


def shared_preload(pools: Sequence[WorkerPool]) -> list[str]:
    """Which modules may be imported once for all workers, before any of them is made.

    None where a pool has an environment of its own, which an import might read.
    """
    if any(pool.spec.env for pool in pools):
        return []
    preloaded = {module for pool in pools for module in pool.spec.preload}
    return [module for module in _SHARED if module in preloaded]


def _plain() -> WorkerPool:
    return WorkerPool.model_validate(
        {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": DEFAULT_POOL}}
    )


def _changed(pool: WorkerPool, changes: Mapping[str, Any]) -> WorkerPool:
    given = {name: value for name, value in changes.items() if value is not None}
    if not given:
        return pool
    document = pool.model_dump(mode="json", by_alias=True)
    document["spec"].update(given)
    try:
        return WorkerPool.model_validate(document)
    except ValidationError as invalid:
        first = invalid.errors()[0]
        raise CannotStart(f"{_dotted(first['loc'])}: {_what(first, document)}") from None


def _read(path: Path) -> list[WorkerPool]:
    try:
        text = path.read_text()
    except OSError as reason:
        raise CannotStart(f"{path} cannot be read: {reason.strerror}") from None
    except UnicodeDecodeError as reason:
        raise CannotStart(f"{path} is not UTF-8: {reason.reason} at byte {reason.start}") from None
    found: list[WorkerPool] = []
    lines: dict[str, int] = {}
    for document, node in _documents(path, text):
        pool = _pool(path, document, node)
        name = pool.metadata.name
        line = node.start_mark.line + 1
        if name in lines:
            raise CannotStart(
                f"{path}:{line}: a pool named {name!r} stands at line {lines[name]} already"
            )
        lines[name] = line
        found.append(pool)
    if not found:
        raise CannotStart(f"{path} has no document; it needs at least one {KIND}")
    return found


def _documents(path: Path, text: str) -> list[tuple[Any, yaml.Node]]:
    """Each document that is not empty, with where its parts stand."""
    try:
        loader = _Loader(text)
        found = []
        while loader.check_node():
            node = loader.get_node()
            document = loader.construct_document(node)
            if node is not None and document is not None:
                found.append((document, node))
    except yaml.MarkedYAMLError as wrong:
        mark = wrong.problem_mark or wrong.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise CannotStart(f"{where}: not YAML: {wrong.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as wrong:
        raise CannotStart(f"{path}: not YAML: {' '.join(str(wrong).split())}") from None
    return found


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice: one of the two would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in keys:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark
                    )
                keys.add(key.value)
        return super().construct_mapping(node, deep)


def _pool(path: Path, document: Any, node: yaml.Node) -> WorkerPool:
    if not isinstance(document, dict):
        raise CannotStart(f"{path}:{node.start_mark.line + 1}: not a mapping, but a {KIND} is")
    try:
        return WorkerPool.model_validate(document)
    except ValidationError as invalid:
        wrong = [
            f"{path}:{_line(node, error['loc'])}: {_dotted(error['loc'])}: {_what(error, document)}"
            for error in invalid.errors()
        ]
        raise CannotStart("\n".join(wrong)) from None


def _line(node: yaml.Node, location: Sequence[str | int]) -> int:
    """Of the deepest part of the location that stands in the file."""
    line = node.start_mark.line
    for part in location:
        found = _child(node, part)
        if found is None:
            break
        line, node = found
    return line + 1


def _child(node: yaml.Node, part: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return key.start_mark.line, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
        value = node.value[part]
        return value.start_mark.line, value
    return None


def _dotted(location: Sequence[str | int]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".") or "the document"


def _what(error: ErrorDetails, document: Any) -> str:
    """pydantic's words, with what was given, or which fields there are."""
    if error["type"] == "extra_forbidden":
        return _unknown(str(error["loc"][-1]), _fields(error["loc"][:-1]))
    if error["type"] == "missing":
        return "is missing"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    given = error["input"]
    return message if isinstance(given, dict | list) else f"{message}; it is {given!r}"


def _unknown(name: str, allowed: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, allowed, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"there is no such field; {hint}there are {', '.join(allowed)}"


def _fields(location: Sequence[str | int]) -> list[str]:
    """The names that the model at this place has."""
    model: Any = WorkerPool
    for part in location:
        if isinstance(part, str) and issubclass(model, BaseModel):
            model = next(
                (f.annotation for n, f in model.model_fields.items() if part in (f.alias, n)),
                None,
            )
            model = getattr(model, "__args__", (model,))[0]
    return [field.alias or name for name, field in model.model_fields.items()]
