"""Connections to providers that wait for the next run of this executor, whichever program's it is.

A run would else pay for a new one: name, TCP, TLS. None of them knows a key, which is a header of
each request. After a fork, which a program may make too, none is anybody's but the parent's.
"""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from anypod_worker.kinds.dspy.streams import Stream

MAX_IDLE = 32
IDLE_SECONDS = 30.0
"""What lies on the way forgets connections that are idle for minutes, and tells nobody."""

Origin = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _Waiting:
    origin: Origin
    stream: Stream
    until: float


class Idle:
    """Those that wait, the longest first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []

    def put(self, origin: Origin, stream: Stream) -> None:
        """The other side has said all, and would hear another request."""
        self._see_to_forks()
        with self._lock:
            self._waiting.append(_Waiting(origin, stream, self._clock() + IDLE_SECONDS))
            surplus = self._waiting[:-MAX_IDLE]
            del self._waiting[: len(surplus)]
        _close(surplus)

    def take(self, origin: Origin) -> Stream | None:
        """The one that was used last, if the other side has not closed it."""
        self.tidy()
        while (found := self._last_of(origin)) is not None:
            if found.is_quiet():
                return found
            found.close()
        return None

    def tidy(self) -> float | None:
        """Close what has waited long enough. Seconds until there is more; None: nothing waits."""
        self._see_to_forks()
        if not self._waiting:
            return None
        with self._lock:
            now = self._clock()
            old = [one for one in self._waiting if one.until <= now]
            del self._waiting[: len(old)]
            left = self._waiting[0].until - now if self._waiting else None
        _close(old)
        return left

    def _last_of(self, origin: Origin) -> Stream | None:
        with self._lock:
            for number in reversed(range(len(self._waiting))):
                if self._waiting[number].origin == origin:
                    return self._waiting.pop(number).stream
        return None

    def _see_to_forks(self) -> None:
        if os.getpid() != self._process:
            waiting = self._waiting
            self._forget()
            _close(waiting)

    def __len__(self) -> int:
        return len(self._waiting)


def _close(waiting: list[_Waiting]) -> None:
    for one in waiting:
        one.stream.close()


idle = Idle()
"""Of this process."""
