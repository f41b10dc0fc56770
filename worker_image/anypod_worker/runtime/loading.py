"""From the files of a revision to an entry function that can be called."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from anypod.wire.messages import Code, Failure


class InvalidProgram(Exception):
    """The program cannot be loaded; ``failure`` says why, for the one who wrote it."""

    def __init__(self, failure: Failure, *, interrupted: bool = False) -> None:
        super().__init__(failure.detail)
        self.failure = failure
        self.interrupted = interrupted
        """It was our interrupt that ended the import."""


class LoadedProgram:
    """An imported revision; ``run`` activates and deactivates it itself."""

    revision: str
    directory: Path
    entry: Callable[..., Any]

    def activate(self) -> None:
        raise NotImplementedError

    def deactivate(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Forget its modules and remove its folder."""
        raise NotImplementedError


def load(code: Code, revision: str, directory: Path) -> LoadedProgram:
    """Write the files to a new folder in ``directory`` and import the entry. Raises InvalidProgram.

    Interruptible (``interrupts``). It leaves the process as the import left it: restore the
    baseline after the execution or the check that needed it.
    """
    raise NotImplementedError


class Programs:
    """The loaded revisions of this executor, least recently used first to go."""

    def __init__(self, limit: int) -> None:
        raise NotImplementedError

    def get(self, revision: str) -> LoadedProgram | None:
        raise NotImplementedError

    def add(self, program: LoadedProgram) -> LoadedProgram:
        """Keep it, closing the oldest above the limit; returns it."""
        raise NotImplementedError
