"""A program's files on disk, as the folder that Python imports from."""

import re
import sys
import tempfile
import tokenize
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path, PurePosixPath

_MODULE_PART = re.compile(r"[^\W\d]\w*")

_RUNTIME = {"anypod", "anypod_worker", "msgspec", "numpy", "pandas", "pydantic", "pydantic_core"}

RESERVED = (sys.stdlib_module_names | _RUNTIME) - {"test"}
"""Names of top-level modules that a program may not have. Python, this runtime and libraries that
other programs of the executor share import them at any time, and would get the program's."""


class BadFiles(ValueError):
    """The files cannot be the folder of a program."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


def _check_path(path: str) -> None:
    shown = path[:200]
    parts = path.split("/")
    if not path or "\0" in path:
        raise BadFiles(f"the path {shown!r} is empty or has a NUL")
    if path.startswith("/"):
        raise BadFiles(f"the path {shown!r} is absolute; paths are relative to the program's root")
    if any(part in {"", ".", ".."} for part in parts):
        raise BadFiles(f"the path {shown!r} has a part that is empty, '.' or '..'")
    try:
        longest = max(len(part.encode()) for part in parts)
    except UnicodeEncodeError:
        raise BadFiles(f"the path {shown!r} is not valid Unicode") from None
    if longest > 200 or len(path) > 1000:
        raise BadFiles(f"the path {shown!r} is too long")


def _check_paths(files: Mapping[str, str]) -> None:
    for path in files:
        _check_path(path)
    for path in files:
        for parent in PurePosixPath(path).parents:
            if str(parent) in files:
                raise BadFiles(f"{str(parent)!r} is both a file and a folder ({path!r})")


def module_names(files: Mapping[str, str]) -> list[str]:
    """Every name under which a module or package of the program can be imported, parents first."""
    names: dict[str, None] = {}
    for path in files:
        if not path.endswith(".py"):
            continue
        parts = path.removesuffix(".py").split("/")
        if parts[-1] == "__init__":
            parts.pop()
        if all(_MODULE_PART.fullmatch(part) for part in parts):
            for end in range(1, len(parts) + 1):
                names[".".join(parts[:end])] = None
    return list(names)


def _check_reserved(files: Mapping[str, str]) -> None:
    for path in files:
        parts = path.removesuffix(".py").split("/")
        is_module = path.endswith(".py") and len(parts) == 1
        is_package = path == f"{parts[0]}/__init__.py"
        if (is_module or is_package) and parts[0] in RESERVED:
            raise BadFiles(
                f"{path!r} would hide the module {parts[0]!r}, which others need; rename it"
            )


def _encoded(path: str, text: str) -> bytes:
    """As UTF-8, or as the file's coding line says, since Python will read it so."""
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise BadFiles(f"{path}, line {line}: an unpaired surrogate is not text", line) from None
    if not path.endswith(".py") or "coding" not in text[:1000]:
        return data
    try:
        encoding, _ = tokenize.detect_encoding(BytesIO(data).readline)
        return data if encoding in {"utf-8", "utf-8-sig"} else text.encode(encoding)
    except (SyntaxError, UnicodeEncodeError) as error:
        raise BadFiles(f"{path}, line 1: {error}", 1) from None


def write(files: Mapping[str, str], parent: Path, name: str) -> Path:
    """A new folder in ``parent`` with these files. Raises BadFiles."""
    _check_paths(files)
    _check_reserved(files)
    contents = {path: _encoded(path, text) for path, text in files.items()}
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent)).resolve()
    for path, data in contents.items():
        target = folder / path
        if "/" in path:
            target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return folder
