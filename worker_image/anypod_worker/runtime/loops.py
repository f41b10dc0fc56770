"""Event loops for programs that are async.

In a shared executor each execution has a loop of its own, as with ``asyncio.run``. A session keeps
one, so that what is bound to a loop (a connection, a lock, a task) lives from call to call; tasks
that a call leaves behind go on when the next one runs.

A loop is never interrupted while it is made or closed, only what runs in it.
"""

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from anypod.session import Session
from anypod_worker.runtime import interrupts

T = TypeVar("T")

_of_sessions: WeakKeyDictionary[Session, asyncio.AbstractEventLoop] = WeakKeyDictionary()


def _new_loop() -> asyncio.AbstractEventLoop:
    with interrupts.held():
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
    return loop


def _complete(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, T]) -> T:
    """Run it to its end; an interrupt cancels it."""
    with interrupts.held():
        task = loop.create_task(main)
        interrupts.cancel_with(lambda: loop.call_soon_threadsafe(task.cancel))
    try:
        return loop.run_until_complete(task)
    finally:
        interrupts.cancel_with(None)


async def end_tasks(tasks: "Collection[asyncio.Task[Any]]") -> None:
    """Cancel what a program left running; what that raises is told as asyncio tells it."""
    loop = asyncio.get_running_loop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            context = {"message": "a task failed while it was cancelled", "exception": error}
            loop.call_exception_handler({**context, "task": task})


async def _end_all() -> None:
    loop = asyncio.get_running_loop()
    await end_tasks([task for task in asyncio.all_tasks() if task is not asyncio.current_task()])
    await loop.shutdown_asyncgens()
    if not interrupts.interrupted():  # else its threads could take any time
        await loop.shutdown_default_executor()


def _close(loop: asyncio.AbstractEventLoop) -> None:
    interrupts.cancel_with(_nothing)
    try:
        loop.run_until_complete(_end_all())
    finally:
        with interrupts.held():
            asyncio.set_event_loop(None)
            loop.close()
        interrupts.cancel_with(None)


def _nothing() -> None:
    """Everything is being cancelled already; only a step that does not end is interrupted."""


def run(main: Coroutine[Any, Any, T], session: Session | None) -> T:
    """Run it in the loop that it is to have."""
    if session is None:
        loop = _new_loop()
        try:
            return _complete(loop, main)
        finally:
            _close(loop)
    kept = _of_sessions.get(session)
    if kept is None or kept.is_closed():
        kept = _of_sessions[session] = _new_loop()
    asyncio.set_event_loop(kept)
    return _complete(kept, main)
