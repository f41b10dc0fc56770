"""Where what was built is kept, and when it is built anew: when what it is made from has changed.

The cache is the user's, not the checkout's: several checkouts share it, so who makes a file
holds its lock, and it gets its name only when it is whole.
"""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.cluster import binaries

KEPT = 3
"""Of each kind of file; the newest by use."""


def folder() -> Path:
    found = binaries.cache().absolute() / "images"
    found.mkdir(parents=True, exist_ok=True)
    return found


def key(*parts: str | bytes) -> str:
    """Names content: another for every other sequence of parts."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()[:16]


def kept(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The file of this kind and key; ``make`` writes it to the path that it is given."""
    path = folder() / f"{kind}-{key}.tar"
    if not path.exists():
        with locked(kind):
            if not path.exists():  # nobody else has made it meanwhile
                _make(path, make)
                _forget_old(kind)
    os.utime(path)
    return path


def _make(path: Path, make: Callable[[Path], None]) -> None:
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    try:
        make(draft)
        draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)


def _forget_old(kind: str) -> None:
    files = sorted(folder().glob(f"{kind}-{'?' * 16}.tar"), key=lambda file: file.stat().st_mtime)
    for file in files[:-KEPT]:
        file.unlink()


@contextlib.contextmanager
def locked(what: str) -> Iterator[None]:
    """One at a time on this machine."""
    with (folder() / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
