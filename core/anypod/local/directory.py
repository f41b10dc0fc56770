"""The directory of a local pool (``.anypod``): its store, and what only lives while it runs.

One ``anypod up`` at a time has it, which a lock on ``run/up.json`` says; the kernel drops the lock
with the process, however that ends.
"""

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from anypod.api.webhooks import new_secret
from anypod.local.settings import CannotStart

LOCK = "up.json"
PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600


@dataclass(frozen=True, slots=True)
class Directory:
    root: Path
    lock: int

    @classmethod
    def take(cls, root: Path) -> Self:
        """Raises CannotStart when another ``anypod up`` has it, or it cannot be written."""
        run = root / "run"
        with _usable(root):
            is_ours = _make(root)
            _make(run)
            lock = os.open(run / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CannotStart(_in_use(root, lock)) from None
        taken = cls(root.resolve(), lock)
        try:
            with _usable(root):
                if is_ours:
                    (root / ".gitignore").write_text("*\n")
                (root / "store.db").touch(PRIVATE_FILE)
        except CannotStart:
            taken.release()
            raise
        return taken

    @property
    def pools_file(self) -> Path:
        return self.root / "run" / "pools.json"

    @property
    def token_file(self) -> Path:
        return self.root / "run" / "link-token"

    @property
    def store(self) -> str:
        return f"sqlite:{self.root / 'store.db'}"

    @property
    def webhook_secrets(self) -> Path:
        return self.root / "webhook-secrets"

    def keep_webhook_secrets(self, pools: Iterable[str]) -> None:
        """One for each pool, made when there is none, for receivers are told it once.

        Raises CannotStart."""
        with _usable(self.webhook_secrets):
            self.webhook_secrets.mkdir(PRIVATE_FOLDER, exist_ok=True)
            for pool in pools:
                if not (self.webhook_secrets / pool).exists():
                    _write_private(self.webhook_secrets / pool, f"{new_secret()}\n")

    def new_token(self) -> str:
        """The link's secret of this start, also in a file that only this user can read.

        Raises CannotStart."""
        token = secrets.token_urlsafe(32)
        with _usable(self.token_file):
            _write_private(self.token_file, token)
        return token

    def announce(self, url: str) -> None:
        """For whoever finds the lock taken; without it, that one is told less."""
        with contextlib.suppress(OSError):
            self._write({"pid": os.getpid(), "url": url})

    def release(self) -> None:
        """What cannot be removed does not matter to the next."""
        for file in (self.token_file, self.pools_file):
            with contextlib.suppress(OSError):
                file.unlink()
        with contextlib.suppress(OSError):
            os.ftruncate(self.lock, 0)
        os.close(self.lock)

    def _write(self, content: dict[str, Any]) -> None:
        os.ftruncate(self.lock, 0)
        os.pwrite(self.lock, json.dumps(content).encode(), 0)


@contextlib.contextmanager
def _usable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as reason:
        raise CannotStart(f"{folder} cannot be used: {reason.strerror}") from reason


def _make(folder: Path) -> bool:
    """Private, and whether it was not there before: else it is somebody's, and stays as it is."""
    try:
        folder.mkdir(PRIVATE_FOLDER, parents=True)
    except FileExistsError:
        if not folder.is_dir():
            raise
        return False
    return True


def _write_private(path: Path, text: str) -> None:
    """Whole or not at all, in place of what was there."""
    draft = path.with_name(f".{path.name}.tmp")
    draft.unlink(missing_ok=True)  # of one that died over it
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    with os.fdopen(file, "w") as stream:
        stream.write(text)
    draft.replace(path)


def _in_use(root: Path, lock: int) -> str:
    with os.fdopen(lock, "rb") as file:
        content = file.read()
    try:
        other = json.loads(content)
        who = f"pid {other['pid']}, {other['url']}"
    except (ValueError, KeyError, TypeError):
        who = "it is just starting"
    return (
        f"another 'anypod up' runs in {root} already ({who}); "
        "stop it, or give this one another directory with --dir"
    )
