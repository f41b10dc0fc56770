"""Tasks that nobody awaits: their failures are seen, and their end is waited for."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

log = logging.getLogger(__name__)


class Errands:
    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, errand: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """The task, for who may want to cancel it."""
        task = asyncio.get_running_loop().create_task(errand)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("an errand failed", exc_info=task.exception())

    async def close(self, seconds: float = 0.0) -> bool:
        """Those that have not ended after that time are cancelled; whether there were none."""
        if self._tasks and seconds:
            await asyncio.wait(self._tasks, timeout=seconds)
        all_ended = not self._tasks
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return all_ended


def vital(
    work: Coroutine[Any, Any, None], what: str, on_fault: Callable[[str], None]
) -> "asyncio.Task[None]":
    """A task without which the process is no use: its end, if it is not cancelled, is a fault."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            log.error("%s has ended", what, exc_info=task.exception())
            on_fault(f"{what} has ended: {task.exception()}")

    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(ended)
    return task
