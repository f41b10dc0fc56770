"""From a file or a folder to a program: its files or its definition, and an id."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from anypod.cli.exits import Usage

if TYPE_CHECKING:
    from anypod.client.calls import CodeArguments

MAX_FILES = 1000
DEFINITIONS = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Source:
    id: str
    given: "CodeArguments"
    is_whole: bool = False
    """It says all of the program: what it leaves out is as of a new one."""


def is_path(target: str) -> bool:
    """Or else the id of a program that exists."""
    return target.endswith((".py", *DEFINITIONS)) or "/" in target or Path(target).exists()


def read(target: str) -> Source:
    """Raises Usage."""
    path = Path(target)
    if path.is_dir():
        return Source(_id(path.resolve().name), {"files": _folder(path)})
    if path.suffix in DEFINITIONS:
        given = _definition(path)
        id_ = _id(str(given.pop("id", path.stem)))  # type: ignore[typeddict-item]
        return Source(id_, given, is_whole=True)
    return Source(_id(path.stem), {"files": {"main.py": _text(path)}})


def _definition(path: Path) -> "CodeArguments":
    """A program as it is sent, in YAML, of which JSON is a part."""
    import yaml

    try:
        given = yaml.safe_load(_text(path))
    except yaml.YAMLError as wrong:
        raise Usage(f"{path} is not YAML: {' '.join(str(wrong).split())}") from None
    if not isinstance(given, dict) or "kind" not in given or not all(map(_is_name, given)):
        raise Usage(f"{path} is no program: it is a mapping with a kind, such as 'kind: dspy'")
    definition: CodeArguments = given  # type: ignore[assignment]
    return definition


def _is_name(key: object) -> bool:
    return isinstance(key, str) and key.isidentifier()


def _folder(root: Path) -> dict[str, str]:
    if not (root / "main.py").is_file():
        raise Usage(f"{root} has no main.py")
    found = list(islice(_files(root), MAX_FILES + 1))
    if len(found) > MAX_FILES:
        raise Usage(f"{root} has more than {MAX_FILES} files, which is what a program may have")
    return {file.relative_to(root).as_posix(): _text(file) for file in sorted(found)}


def _files(root: Path) -> Iterator[Path]:
    for file in root.rglob("*"):
        parts = file.relative_to(root).parts
        if file.is_file() and not any(
            part.startswith(".") or part == "__pycache__" for part in parts
        ):
            yield file


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as reason:
        raise Usage(f"{path} cannot be read: {reason.strerror}") from None
    except UnicodeDecodeError as reason:
        raise Usage(
            f"{path} is not UTF-8 ({reason.reason} at byte {reason.start}); a program is text"
        ) from None


def _id(name: str) -> str:
    found = re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip("._-")[:100]
    if not found:
        raise Usage(f"no id can be made of {name!r}; give one with --id")
    return found
