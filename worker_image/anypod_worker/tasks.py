"""Background tasks: kept alive while they run, seen when they fail, cancelled at the end."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from anypod_worker import logs


class Tasks:
    def __init__(self, on_failure: Callable[[], None] | None = None) -> None:
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is None:
            return
        logs.logger.error("a part of the worker failed", exc_info=task.exception())
        if self._on_failure is not None:
            self._on_failure()

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
