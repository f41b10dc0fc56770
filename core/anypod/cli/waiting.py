"""A spinner on anything that takes longer than a moment, on a terminal only."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 0.7


class Waiting:
    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, text: str) -> None:
        if sys.stderr.isatty():
            self._thread = threading.Thread(target=self._spin, args=(text,), daemon=True)
            self._thread.start()

    def _spin(self, text: str) -> None:
        if self._stopped.wait(PATIENCE_SECONDS):
            return
        from rich.console import Console

        with Console(stderr=True).status(text):
            self._stopped.wait()

    def stop(self) -> None:
        """The line is clean again when this returns."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()


@contextmanager
def waiting(text: str) -> Iterator[Waiting]:
    spinner = Waiting()
    spinner.start(text)
    try:
        yield spinner
    finally:
        spinner.stop()
