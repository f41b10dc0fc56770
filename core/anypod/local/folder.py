"""The folder of one local AnyPod (``.anypod``): its store, its secrets, its logs. One at a time."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FolderTaken(Exception):
    """Another ``anypod up`` runs in it."""


class Folder:
    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.run = self.root / "run"
        self.store = self.root / "store.db"
        self.pools_file = self.run / "pools.json"
        self.token_file = self.run / "link-token"
        self.worker_log = self.root / "workers.log"
        self.gateway_log = self.root / "gateway.log"

    def prepare(self) -> str:
        """Make it, private to this user, with a new link secret, which is returned."""
        for directory in (self.root, self.run):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        token = secrets.token_urlsafe(32)
        self.token_file.unlink(missing_ok=True)
        descriptor = os.open(self.token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(token)
        self.pools_file.unlink(missing_ok=True)
        return token

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Held until this process ends, however it ends. Raises FolderTaken, OSError."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.root / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
                raise FolderTaken(
                    f"another anypod up (pid {holder}) runs in {self.root}; "
                    "stop it, or choose another folder with --dir"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield
