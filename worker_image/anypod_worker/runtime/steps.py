"""An event loop that knows whose step it runs, and since when."""

import asyncio
import os
import selectors
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, ContextVar
from time import monotonic  # by name: a program may replace them
from typing import Any

MARK_BYTES = 64
_NOBODY = bytes(MARK_BYTES)

_mark: ContextVar[bytes] = ContextVar("anypod_mark", default=_NOBODY)


def belong(context: Context, execution: str) -> None:
    """Steps in this context are of this execution."""
    context.run(_mark.set, execution.encode()[:MARK_BYTES].ljust(MARK_BYTES, b"\0"))


class _Selector(selectors.DefaultSelector):
    """Ends a process that a program forked and let go on: it would run all executions again."""

    def __init__(self) -> None:
        super().__init__()
        self._process = os.getpid()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if os.getpid() != self._process:
            os._exit(0)
        return super().select(timeout)


class _Step(asyncio.Handle):
    __slots__ = ()

    def _run(self) -> None:
        loop: Any = self._loop  # type: ignore[attr-defined]
        loop.begin_step(self._context.get(_mark, _NOBODY))  # type: ignore[attr-defined]
        try:
            super()._run()
        finally:
            loop.end_step()


class Loop(asyncio.SelectorEventLoop):
    def __init__(self, mark: Callable[[bytes], None]) -> None:
        """``mark`` is told whose step begins; nobody's when it ends."""
        super().__init__(_Selector())
        self.step_began = monotonic()
        self.threads = ThreadPoolExecutor(thread_name_prefix="asyncio")
        """None of them before one is needed."""
        self.set_default_executor(self.threads)
        self._mark = mark

    def begin_step(self, mark: bytes) -> None:
        self.step_began = monotonic()
        self._mark(mark)

    def end_step(self) -> None:
        self._mark(_NOBODY)

    def _call_soon(self, callback: Any, args: Any, context: Any) -> asyncio.Handle:
        # All steps of tasks come by this; there is no public way to be told of them.
        handle = _Step(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle
