"""Work on files that may take as long as it likes: one thread does it, one piece after another.

Nobody has to wait for it: neither the loop, nor the end of the process, which ends the thread too.
"""

import queue
import threading
from collections.abc import Callable

from anypod_worker import logs


class Chores:
    def __init__(self) -> None:
        self._todo: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="files", daemon=True)
        self._thread.start()

    def add(self, chore: Callable[[], None]) -> None:
        self._todo.put(chore)

    def finish(self, seconds: float) -> bool:
        """Wait until all is done, but not longer; whether it is. Nothing is added after this."""
        self._todo.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (chore := self._todo.get()) is not None:
            try:
                chore()
            except Exception:  # noqa: BLE001 - the next is not to blame
                logs.logger.exception("a part of the worker failed")
