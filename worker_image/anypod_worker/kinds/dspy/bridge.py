"""A thread for what DSPy has only synchronously, and its way back into the loop.

Optimisers call programs and wait for them. What they call runs in the loop, as it does elsewhere:
with the run's LM, metered, interruptible. When the run is broken off, whatever the thread waits for
ends with an exception that nothing of DSPy catches, so the thread ends too.
"""

import asyncio
import concurrent.futures
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_END_SECONDS = 2.0
"""For the thread to end in when it is broken off; a thread that is left costs the executor."""


class BrokenOff(BaseException):
    """Raised in the thread; no Exception, for those are swallowed there."""


class Bridge:
    """Made in the loop, for one thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loops_thread = threading.get_ident()
        self._lock = threading.Lock()
        self._awaited: set[concurrent.futures.Future[Any]] = set()
        self._is_closed = False

    def __deepcopy__(self, _: dict[int, Any]) -> "Bridge":
        return self

    async def run(self, function: Callable[[], T]) -> T:
        """What the function returns, called in the thread with the context of here."""
        done: asyncio.Future[T] = self._loop.create_future()
        context = contextvars.copy_context()

        def work() -> None:
            try:
                result = context.run(function)
            except BaseException as error:  # noqa: BLE001 - it is raised to who waits
                self._loop.call_soon_threadsafe(_fail, done, error)
            else:
                self._loop.call_soon_threadsafe(_succeed, done, result)

        threading.Thread(target=work, name="optimizer", daemon=True).start()
        try:
            return await asyncio.shield(done)
        finally:
            self._close()
            await asyncio.wait({done}, timeout=_END_SECONDS)
            if done.done():
                done.exception()  # it has been raised, or nobody is there any more

    def is_in_the_loop(self) -> bool:
        """Where ``wait`` would wait for itself."""
        return threading.get_ident() == self._loops_thread

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Called in the thread. Raises BrokenOff, and what the coroutine raises."""
        with self._lock:
            if self._is_closed:
                coroutine.close()
                raise BrokenOff
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
            self._awaited.add(future)
        try:
            return future.result()
        except (concurrent.futures.CancelledError, asyncio.CancelledError):
            raise BrokenOff from None
        finally:
            with self._lock:
                self._awaited.discard(future)

    def _close(self) -> None:
        with self._lock:
            self._is_closed = True
            awaited = list(self._awaited)
        for future in awaited:
            future.cancel()


def _succeed(done: "asyncio.Future[T]", result: T) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: "asyncio.Future[Any]", error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)
