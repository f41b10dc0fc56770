"""Where what was built is kept, and when it is built anew: when what it is made from has changed.

The cache is the user's, not the checkout's: several checkouts share it, so who makes a file
holds its lock, and it gets its name only when it is whole. What nobody has used for weeks is
forgotten, and never what a running process has been given.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.cluster import binaries
from tests.cluster.telling import step

UNUSED_DAYS = 14
"""So long, and what was made is forgotten."""

_held: dict[Path, int] = {}
"""What this process was given: a descriptor of each, with a shared lock until it ends."""


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


def kept(kind: str, key: str, make: Callable[[Path], None], suffix: str = ".tar") -> Path:
    """The file or folder of this kind and key, until this process ends.

    ``make`` writes it to the path that it is given.
    """
    path = folder() / f"{kind}-{key}{suffix}"
    while not _hold(path):
        with locked(kind):
            if not path.exists():  # nobody else has made it meanwhile
                _make(path, make)
                _forget_unused()
    os.utime(path)
    return path


def newest(kind: str, suffix: str = ".tar") -> Path | None:
    """What was last used of a kind, if there is anything; until this process ends."""
    found = folder().glob(f"{kind}-{'?' * 16}{suffix}")
    latest = max(found, key=lambda path: path.stat().st_mtime, default=None)
    return latest if latest is not None and _hold(latest) else None


def let_go() -> None:
    """Of all that this process was given; it may be forgotten from now on."""
    while _held:
        os.close(_held.popitem()[1])


def _hold(path: Path) -> bool:
    """Keep others from forgetting it; False if it is not there."""
    if path in _held and _is_there(path, _held[path]):
        return True
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if not _is_there(path, descriptor):
        os.close(descriptor)
        return False
    if path in _held:  # somebody has removed it, and it was made again
        os.close(_held[path])
    _held[path] = descriptor
    return True


def _is_there(path: Path, descriptor: int) -> bool:
    """Whether the path still leads to what was opened."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _make(path: Path, make: Callable[[Path], None]) -> None:
    draft = path.with_name(f"{path.stem}.draft")
    _remove(draft)
    try:
        make(draft)
        draft.rename(path)
    finally:
        _remove(draft)


def _forget_unused() -> None:
    """Of every kind; drafts and folders of makers that were killed too."""
    before = time.time() - UNUSED_DAYS * 86400
    for pattern in (f"*-{'?' * 16}", f"*-{'?' * 16}.tar", "*.draft", "tmp?*"):
        for path in folder().glob(pattern):
            with contextlib.suppress(FileNotFoundError):  # another run forgets it, too
                if path.stat().st_mtime < before:
                    _forget(path)


def _forget(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(path)
    except BlockingIOError:
        pass  # a process that runs has it
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        # Under a name that nobody asks for: it does not go all at once.
        going = path.with_name(f"{path.name}.{os.getpid()}.draft")
        path.rename(going)
        shutil.rmtree(going)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(what: str) -> Iterator[None]:
    """One at a time on this machine."""
    with (folder() / f"{what}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step(f"waiting for another process that is at {what}"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield
