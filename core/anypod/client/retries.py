"""When a call may be sent again, and after how long.

Only what provably did not start is repeated by itself: no connection, or a gateway that says that
it was too busy. Whatever may have started is repeated only if that does no harm: a call that reads,
one that the caller calls idempotent, or one with a key, which gateways run once. With a key, too, a
lost worker is the caller's to decide about: what ran there may have had its effect.
"""

import random
from dataclasses import dataclass, field
from typing import Protocol

from anypod.api.problems import AnyPodError
from anypod.client.errors import AnswerLost, TimedOut, Unavailable, Unreachable, WorkerLost
from anypod.client.settings import CALL_SECONDS

NEVER_STARTED = frozenset({"queue-full", "no-worker", "authentication-unavailable"})
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0


class Clock(Protocol):
    def __call__(self) -> float: ...


@dataclass
class Attempts:
    """The attempts of one call."""

    retries: int
    seconds: float
    """For all of them together."""
    repeatable: bool
    keyed: bool
    clock: Clock
    jitter: Clock = random.random
    made: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._end = self.clock() + self.seconds

    def left(self) -> float:
        """Seconds for the attempt that begins now. Raises TimedOut."""
        left = self._end - self.clock()
        if left <= 0:
            raise TimedOut(f"no answer within {self.seconds:g} seconds")
        self.made += 1
        return left

    def pause(self, failure: Exception) -> float | None:
        """Seconds to wait before the next attempt; None when there is to be none."""
        if self.made > self.retries or not self._may_repeat(failure):
            return None
        pause = _told(failure)
        if pause is None:
            pause = min(FIRST_PAUSE * 2 ** (self.made - 1), LONGEST_PAUSE)
            pause *= 0.5 + self.jitter()
        if pause > CALL_SECONDS:  # the caller is told of it, whose run may have a day
            return None
        return pause if self.clock() + pause < self._end else None

    def _may_repeat(self, failure: Exception) -> bool:
        if isinstance(failure, Unreachable):
            return True
        if isinstance(failure, AnyPodError) and failure.type in NEVER_STARTED:
            return True
        if isinstance(failure, AnswerLost | Unavailable):
            return self.repeatable or self.keyed
        return self.repeatable and isinstance(failure, WorkerLost)


def _told(failure: Exception) -> float | None:
    """What the gateway says in Retry-After, which its problem documents repeat."""
    after = failure.problem.retry_after if isinstance(failure, AnyPodError) else None
    return None if after is None else float(max(after, 0))
