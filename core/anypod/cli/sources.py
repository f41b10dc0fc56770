"""From a file or a folder to a program: its files, and an id."""

import re
from dataclasses import dataclass
from pathlib import Path

from anypod.cli.exits import Usage

MAX_FILES = 1000


@dataclass(frozen=True, slots=True)
class Source:
    id: str
    files: dict[str, str]


def is_path(target: str) -> bool:
    """Or else the id of a program that exists."""
    return target.endswith(".py") or "/" in target or Path(target).exists()


def read(target: str) -> Source:
    """Raises Usage."""
    path = Path(target)
    if path.is_dir():
        return Source(_id(path.resolve().name), _folder(path))
    return Source(_id(path.stem), {"main.py": _text(path)})


def _folder(root: Path) -> dict[str, str]:
    found = {
        file.relative_to(root).as_posix(): _text(file)
        for file in sorted(root.rglob("*"))
        if file.is_file()
        and not any(
            part.startswith(".") or part == "__pycache__" for part in file.relative_to(root).parts
        )
    }
    if "main.py" not in found:
        raise Usage(f"{root} has no main.py")
    if len(found) > MAX_FILES:
        raise Usage(f"{root} has {len(found)} files; a program may have {MAX_FILES}")
    return found


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
