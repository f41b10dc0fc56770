"""The pool's queue: who waits for a worker, in which order, and for how long.

There are two lines, since calls of no session wait for a free executor and new sessions for a
worker with room: neither holds the other up. They share one bound; but calls of a kind that some
workers cannot run have their own, or they would keep out those that wait for nobody but the others.
A caller that leaves is out of its line at once, and a worker that becomes free wakes exactly the
one that gets it.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from anypod.api.problems import AnyPodError, Problem, error
from anypod.resources.workerpool import Queue
from anypod.wire.messages import PYTHON
from anypod_gateway.groups import Share
from anypod_gateway.workers import Worker

NO_WORKER_RETRY_SECONDS = 2
MAX_RETRY_SECONDS = 60
SAMPLE_SECONDS = 10.0
"""How far back the throughput is looked at."""

Pick = Callable[[Collection[str], Share | None, str], Worker | None]
"""A worker, taken, for a caller that would rather have none of these; and needs no executor of its
own, if it has a share; of a program of that kind."""
GiveBack = Callable[[Worker, Share | None], None]


@dataclass(slots=True, eq=False)
class Waiter:
    avoid: Collection[str]
    share: Share | None
    kind: str
    future: "asyncio.Future[Worker | Problem | None]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Admission:
    """What the lines of one pool have in common."""

    def __init__(self, limits: Callable[[], Queue]) -> None:
        self.limits = limits
        self._waiting: Counter[str] = Counter()
        """By the kind of their programs; of kinds that all can run, as PYTHON."""
        self.served = 0
        """Executions that have ended, ever."""
        self.closed: Problem | None = None
        """Why nobody is let in any more."""
        self._sample = (0.0, 0)

    @property
    def waiting(self) -> int:
        return self._waiting.total()

    def enter(self, kind: str, *, again: bool) -> None:
        """Raises queue-full. Who was refused by a worker has been let in before."""
        if self.closed is not None:
            raise AnyPodError(self.closed)
        depth, waiting = self.limits().depth, self._waiting[kind]
        if waiting >= depth and not again:
            raise error(
                "queue-full",
                f"{waiting} calls wait already; the pool's queue takes {depth}",
                retry_after=self._seconds_to_empty(waiting),
            )
        if not self.waiting:
            self._sample = (asyncio.get_running_loop().time(), self.served)
        self._waiting[kind] += 1

    def leave(self, kind: str) -> None:
        """As it was entered."""
        self._waiting[kind] -= 1

    def _seconds_to_empty(self, waiting: int) -> int:
        now = asyncio.get_running_loop().time()
        since, served = self._sample
        elapsed, done = now - since, self.served - served
        if elapsed > SAMPLE_SECONDS:
            self._sample = (now, self.served)
        if not done or elapsed <= 0:
            return 1 if elapsed < 1 else MAX_RETRY_SECONDS
        return max(1, min(MAX_RETRY_SECONDS, round(waiting * elapsed / done)))


class Line:
    """First come, first served."""

    def __init__(
        self,
        admission: Admission,
        pick: Pick,
        give_back: GiveBack,
        describe: Callable[[], str],
        all_know: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """``give_back`` gets a worker that was picked for somebody who has left meanwhile;
        ``describe`` says why there is none, ``all_know`` whether every worker can run a kind."""
        self._admission = admission
        self._pick = pick
        self._give_back = give_back
        self._describe = describe
        self._all_know = all_know
        self._waiters: OrderedDict[Waiter, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiters)

    def at_once(
        self, avoid: Collection[str] = (), share: Share | None = None, kind: str = PYTHON
    ) -> Worker | None:
        """A worker, if one is free and nobody has been waiting for it."""
        if self._waiters and not self._is_first(kind):
            return None
        return self._pick(avoid, share, kind)

    def _is_first(self, kind: str) -> bool:
        """All that wait are of other kinds, and for workers that are not to be had."""
        if self._all_know(next(iter(self._waiters)).kind):
            return False
        kinds = {waiter.kind for waiter in self._waiters}
        return kind not in kinds and not any(map(self._all_know, kinds))

    async def wait(
        self,
        since: float,
        deadline: float,
        avoid: Collection[str] = (),
        share: Share | None = None,
        kind: str = PYTHON,
        *,
        again: bool = False,
    ) -> Worker:
        """Raises queue-full, no-worker or deadline-exceeded. ``since`` is when the call came;
        ``again`` puts it first: it had its turn, and was refused."""
        admission = self._admission
        queue = PYTHON if self._all_know(kind) else kind
        admission.enter(queue, again=again)
        waiter = Waiter(avoid, share, kind)
        self._waiters[waiter] = None
        if again:
            self._waiters.move_to_end(waiter, last=False)
        patience = since + admission.limits().max_wait_seconds
        loop = asyncio.get_running_loop()
        timer = loop.call_at(min(patience, deadline), _expire, waiter)
        try:
            self.serve()
            answer = await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled():
                self._return(waiter)
            raise
        finally:
            timer.cancel()
            admission.leave(queue)
            self._waiters.pop(waiter, None)
        if isinstance(answer, Worker):
            return answer
        if answer is not None:
            raise AnyPodError(answer)
        raise self._too_late(since, deadline < patience)

    def serve(self) -> None:
        """Give what is free to who waits."""
        waiters = self._waiters
        while waiters:
            waiter = next(iter(waiters))
            if waiter.future.done():
                del waiters[waiter]
                continue
            if not self._is_served(waiter):
                if not self._all_know(waiter.kind):
                    self._serve_others(waiter.kind)
                return

    def _serve_others(self, kind: str) -> None:
        """Workers that do not know the kind of the first need not wait with it."""
        others = [w for w in self._waiters if w.kind != kind and not w.future.done()]
        for waiter in others:
            if not self._is_served(waiter):
                return

    def _is_served(self, waiter: Waiter) -> bool:
        worker = self._pick(waiter.avoid, waiter.share, waiter.kind)
        if worker is None:
            return False
        del self._waiters[waiter]
        waiter.future.set_result(worker)
        return True

    def close(self, reason: Problem) -> None:
        for waiter in self._waiters:
            if not waiter.future.done():
                waiter.future.set_result(reason)

    def _return(self, waiter: Waiter) -> None:
        answer = waiter.future.result()
        if isinstance(answer, Worker):
            self._give_back(answer, waiter.share)

    def _too_late(self, since: float, by_deadline: bool) -> AnyPodError:
        waited = asyncio.get_running_loop().time() - since
        what = f"nothing ran in {waited:.1f} s: {self._describe()}"
        if by_deadline:
            return error("deadline-exceeded", what)
        return error("no-worker", what, retry_after=NO_WORKER_RETRY_SECONDS)


def _expire(waiter: Waiter) -> None:
    if not waiter.future.done():
        waiter.future.set_result(None)
