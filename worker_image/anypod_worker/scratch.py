"""Directories of a worker's executors, each its own, all gone when the worker is.

A worker that was killed cannot tidy up. So each holds a lock on its directory while it lives, and
the next worker on the machine removes the directories whose lock nobody holds.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "anypod-worker-"
_DRAFT_PREFIX = "anypod-new-worker-"
_LOCK = ".lock"


class Scratch:
    def __init__(self) -> None:
        self.root, self._lock = _made()

    def for_executor(self, number: int) -> Path:
        """Makes the whole anew if something has tidied it away."""
        if not self.root.exists():
            _, lock = _made(self.root)
            os.close(self._lock)
            self._lock = lock
        directory = self.root / str(number)
        directory.mkdir(mode=0o700)
        return directory

    def remove(self, directory: Path) -> None:
        """Blocks for as long as a program's files take."""
        _remove(directory)

    def close(self) -> None:
        _remove(self.root)
        os.close(self._lock)


def _made(root: Path | None = None) -> tuple[Path, int]:
    """A new directory, also under a name that is free again, and its lock. Raises OSError, and then
    there is neither.

    It gets the name that others look for only when it is locked.
    """
    with contextlib.ExitStack() as undo:
        draft = Path(tempfile.mkdtemp(prefix=_DRAFT_PREFIX))
        undo.callback(shutil.rmtree, draft, ignore_errors=True)
        lock = os.open(draft / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        undo.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        root = root or draft.with_name(draft.name.replace(_DRAFT_PREFIX, _PREFIX, 1))
        draft.rename(root)
        undo.pop_all()
    return root, lock


def _remove(directory: Path) -> None:
    """Also folders that a program has locked."""
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        with contextlib.suppress(FileNotFoundError):  # somebody else removes it too
            _unlock(directory)
            shutil.rmtree(directory)


def _unlock(directory: Path) -> None:
    directory.chmod(0o700)
    for parent, folders, _ in os.walk(directory):
        for folder in folders:
            path = Path(parent, folder)
            if not path.is_symlink():
                path.chmod(0o700)


def remove_abandoned() -> None:
    """Remove what killed workers of this user left in the temporary directory. Blocks."""
    for root in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            if root.stat().st_uid == os.getuid() and _is_abandoned(root):
                _remove(root)
        except OSError:
            continue  # somebody else removes it, or the next worker will


def _is_abandoned(root: Path) -> bool:
    try:
        lock = os.open(root / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True  # half removed
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(lock)
