"""Event loops for programs that are async.

In a shared executor each execution has a loop of its own, as ``asyncio.run`` does. A session keeps
one, so that what is bound to a loop (a connection, a lock, a task) lives from call to call; tasks
that a call leaves behind go on when the next one runs.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from anypod.session import Session
from anypod_worker.runtime import interrupts

T = TypeVar("T")

_of_sessions: WeakKeyDictionary[Session, asyncio.Runner] = WeakKeyDictionary()


def _complete(runner: asyncio.Runner, main: Coroutine[Any, Any, T]) -> T:
    loop = runner.get_loop()
    task = loop.create_task(main)
    interrupts.cancel_with(lambda: loop.call_soon_threadsafe(task.cancel))
    try:
        return loop.run_until_complete(task)
    finally:
        interrupts.cancel_with(None)


def run(main: Coroutine[Any, Any, T], session: Session | None) -> T:
    """Run it to its end; an interrupt cancels it."""
    if session is None:
        with asyncio.Runner() as runner:
            return _complete(runner, main)
    kept = _of_sessions.get(session)
    if kept is None or kept.get_loop().is_closed():
        kept = _of_sessions[session] = asyncio.Runner()
    asyncio.set_event_loop(kept.get_loop())
    return _complete(kept, main)
