"""One try at one execution, on one worker: what the link's reader resolves and a caller awaits.

No task belongs to an attempt. The reader hands it what the worker says, and never waits for it.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from anypod.wire.codec import BadMessage
from anypod.wire.messages import (
    WINDOW,
    Checked,
    Chunk,
    Credit,
    Log,
    Message,
    NeedProgram,
    NeedState,
    Progress,
    Refused,
    Result,
)
from anypod_gateway.groups import Share

CREDIT_STEP = WINDOW // 4


@dataclass(frozen=True, slots=True)
class Lost:
    """The link broke."""

    started: bool
    """An executor may have seen the execution."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """The worker has not kept the deadline, and is not waited for any longer."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The gateway could not give what the worker asked for."""

    reason: Exception


End = Result | Refused | Checked | Lost | Overdue | Failed


class Supply(Protocol):
    """Who has what a worker may ask for. No method may wait or raise."""

    def need_program(self, attempt: "Attempt") -> None: ...

    def need_state(self, attempt: "Attempt") -> None: ...

    def hear(self, progress: Progress) -> None:
        """What the program says of how far it is."""
        ...

    def deliver(self, attempt: "Attempt", result: Result) -> None:
        """Calls ``finish`` when the result may be told to the caller."""
        ...


class Holder(Protocol):
    """The worker that an attempt is on."""

    @property
    def name(self) -> str: ...

    def tell(self, message: Message) -> None: ...

    def abandon(self, attempt: "Attempt") -> None:
        """Nobody waits for it any more: the worker is to stop it."""
        ...


class Attempt:
    __slots__ = ("asked", "future", "id", "overdue_at", "share", "shared", "supply", "worker")

    def __init__(
        self,
        id_: str,
        worker: Holder,
        overdue_at: float,
        supply: Supply,
        *,
        shared: bool = True,
        share: Share | None = None,
    ) -> None:
        self.id = id_
        self.worker = worker
        self.overdue_at = overdue_at
        """By the loop's clock; the worker's own deadline comes well before."""
        self.supply = supply
        self.shared = shared
        """It takes one of the worker's shared executors."""
        self.share = share
        """It takes a place in one that others of its program are in."""
        self.asked = False
        """The worker waits for a program or a state: nothing has run."""
        self.future: asyncio.Future[End] = asyncio.get_running_loop().create_future()

    def leave(self) -> None:
        """The caller's last word: what has not ended is of no use any more."""
        if not self.future.done() or self.future.cancelled():
            self.future.cancel()
            self.worker.abandon(self)

    # called while the link's reader runs

    def finish(self, end: End) -> None:
        if not self.future.done():
            self.future.set_result(end)

    def take(self, message: NeedProgram | NeedState | Progress | Chunk | Log) -> None:
        """Raises BadMessage."""
        if isinstance(message, NeedProgram):
            self.asked = True
            self.supply.need_program(self)
        elif isinstance(message, NeedState):
            self.asked = True
            self.supply.need_state(self)
        elif isinstance(message, Progress):
            self.supply.hear(message)
        # A chunk that nobody asked for says nothing to the caller of an answer.


class StreamAttempt(Attempt):
    """Keeps what comes until it is consumed; the worker sends no more than a window ahead."""

    __slots__ = ("_events", "_news", "_owed", "_pending", "_read")

    def __init__(
        self,
        id_: str,
        worker: Holder,
        overdue_at: float,
        supply: Supply,
        *,
        shared: bool = True,
        share: Share | None = None,
    ) -> None:
        super().__init__(id_, worker, overdue_at, supply, shared=shared, share=share)
        self._events: deque[Chunk | Log] = deque()
        self._news: asyncio.Future[None] | None = None
        self._pending = 0
        """Bytes that have come and for which no credit has been given."""
        self._read = 0
        """Of these, what the consumer has had; credit is given for many at once."""
        self._owed = 0
        """Size of what the consumer is at: it is done with it when it asks for the next."""

    async def next(self) -> Chunk | Log | End:
        self._give_credit()
        while not self._events:
            if self.future.done():
                return self.future.result()
            self._news = asyncio.get_running_loop().create_future()
            await self._news
        event = self._events.popleft()
        self._owed = size_of(event)
        return event

    def finish(self, end: End) -> None:
        super().finish(end)
        self._wake()

    def take(self, message: NeedProgram | NeedState | Progress | Chunk | Log) -> None:
        if not isinstance(message, Chunk | Log):
            super().take(message)
            return
        if self._pending >= WINDOW:
            raise BadMessage(f"execution {self.id} sent more than its window")
        self._pending += size_of(message)
        self._events.append(message)
        self._wake()

    def _give_credit(self) -> None:
        self._read += self._owed
        self._owed = 0
        if self._read >= CREDIT_STEP:
            self._pending -= self._read
            self.worker.tell(Credit(self.id, self._read))
            self._read = 0

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


def size_of(event: Chunk | Log) -> int:
    """As the worker counts it."""
    return len(event.data) if isinstance(event, Chunk) else len(event.text)
