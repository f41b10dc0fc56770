"""All workers of one pool: who is there, who may be given work, and who gets the next."""

import asyncio
import logging
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Iterable

from anypod.wire.messages import PYTHON, StoreSeen
from anypod_gateway import placement
from anypod_gateway.discovery import Endpoint, diff
from anypod_gateway.groups import Share
from anypod_gateway.standing import why_not_ready
from anypod_gateway.workers import Worker

log = logging.getLogger(__name__)

REMEMBERED = 1000
"""Instances of departed workers, so that their sessions are known to be lost at once."""
_NEEDED = defaultdict(
    lambda: "use an image of a version that knows it",
    dspy="use an image that has dspy (the extra 'dspy')",
)
NAMED = 5
"""Workers that a message names; there may be hundreds."""


class Roster:
    """A ``workers.Watcher``."""

    def __init__(
        self,
        make: Callable[[Endpoint, "Roster"], Worker],
        on_free: Callable[[], None],
        on_link: Callable[[str, bool], None],
    ) -> None:
        """``on_free`` is called when a worker may be given work that could not before."""
        self.workers: dict[str, Worker] = {}
        self.ready: list[Worker] = []
        self._make = make
        self._on_free = on_free
        self._on_link = on_link
        self._able: list[Worker] = []
        """Ready ones that can run whatever any of them can."""
        self._known = frozenset((PYTHON,))
        """Kinds of programs that all ready ones can run."""
        self._next = 0
        self._departed: OrderedDict[str, None] = OrderedDict()
        self._retired: set[Worker] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()

    # who is there

    def apply(self, endpoints: Iterable[Endpoint]) -> None:
        known = {name: worker.endpoint for name, worker in self.workers.items()}
        difference = diff(known, endpoints)
        for name in difference.gone:
            self._retire(self.workers.pop(name))
        for endpoint in difference.changed:
            self.workers[endpoint.name].update(endpoint)
        for endpoint in difference.new:
            worker = self._make(endpoint, self)
            self.workers[endpoint.name] = worker
            worker.start()
        self._tell()

    def _retire(self, worker: Worker) -> None:
        worker.retire()
        if worker.hello is not None:
            self.departed(worker.hello.instance)
        self._retired.add(worker)
        self._close_retired()

    def _close_retired(self) -> None:
        for worker in [w for w in self._retired if w.is_idle or not w.is_up]:
            self._retired.discard(worker)
            task = asyncio.get_running_loop().create_task(worker.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def tick(self, now: float) -> None:
        for worker in (*self.workers.values(), *self._retired):
            worker.tick(now)
        self._close_retired()

    def say(self, seen: StoreSeen) -> None:
        for worker in self.workers.values():
            worker.say(seen)

    async def close(self) -> None:
        leaving = [worker.close() for worker in (*self.workers.values(), *self._retired)]
        self.workers, self._retired = {}, set()
        await asyncio.gather(*leaving, *self._closing, return_exceptions=True)

    # what workers tell

    def changed(self, worker: Worker) -> None:
        if worker.is_placeable:
            self.ready.append(worker)
            log.info("worker %s of pool %s is ready", worker.name, worker.pool)
        else:
            self.ready.remove(worker)
            why = why_not_ready(worker)
            log.info("worker %s of pool %s is not ready: %s", worker.name, worker.pool, why)
        self._compare()
        self._tell()
        if worker.is_placeable:
            self._on_free()

    def _compare(self) -> None:
        """During an upgrade some can run what others cannot."""
        kinds = [worker.kinds for worker in self.ready]
        every = frozenset((PYTHON,)).union(*kinds)
        self._known = every.intersection(*kinds)
        self._able = [worker for worker in self.ready if worker.kinds == every]

    def freed(self, worker: Worker) -> None:
        self._on_free()

    def linked(self, worker: Worker, *, up: bool) -> None:
        self._on_link(worker.name, up)

    def departed(self, instance: str) -> None:
        self._departed[instance] = None
        if len(self._departed) > REMEMBERED:
            self._departed.popitem(last=False)

    def has_departed(self, instance: str) -> bool:
        return instance in self._departed

    def is_gone(self, name: str) -> bool:
        """Its machine is there, and its process is not. Of one that is not told of any more that
        is not known: it may only be cut off."""
        worker = self.workers.get(name)
        return worker is not None and worker.is_refused

    def is_well(self, name: str) -> bool:
        """It is there, and does not go."""
        worker = self.workers.get(name)
        return worker is not None and worker.is_up and not worker.is_leaving

    async def news(self) -> None:
        """Waits until something has changed about some worker."""
        await self._news.wait()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def capacity(self, concurrency: int = 1) -> int:
        """Executions that the ready workers take at once, of a program of which so many share an
        executor. Only those that run alone are sent ahead."""
        if concurrency > 1:
            return sum(concurrency * worker.executors for worker in self.ready)
        return sum(worker.executors + worker.ahead for worker in self.ready)

    def places(self, revision: str) -> int:
        """Free ones in executors that run that revision."""
        return sum(worker.groups.free(revision) for worker in self.ready)

    def all_know(self, kind: str) -> bool:
        """All that are ready can run programs of that kind."""
        return kind in self._known

    def lacks(self, kind: str) -> str:
        """Why no worker can run programs of that kind; empty if one can, or one that has not said
        so yet."""
        workers = self.workers.values()
        if not workers or any(w.hello is None or kind in w.kinds for w in workers):
            return ""
        return f"no worker of the pool can run programs of kind {kind}: {_NEEDED[kind]}"

    # who gets the next

    def take_executor(
        self, avoid: Collection[str] = (), share: Share | None = None, kind: str = PYTHON
    ) -> Worker | None:
        """A worker with an executor for us, or with a place in one, which is reserved."""
        self._next += 1
        ready = self._knowing(kind, self.ready)
        if share is not None:
            return self._take_place(ready, share, avoid)
        worker = placement.least_loaded(ready, self._next, avoid)
        if worker is not None:
            worker.reserve()
        return worker

    def _knowing(self, kind: str, among: list[Worker]) -> list[Worker]:
        """Of ready ones."""
        if kind in self._known:
            return among
        return [worker for worker in among if kind in worker.kinds]

    def _take_place(
        self, ready: list[Worker], share: Share, avoid: Collection[str]
    ) -> Worker | None:
        worker = placement.most_places(
            ready,
            lambda worker: worker.groups.free(share.revision),
            share.concurrency,
            self._next,
            avoid,
        )
        if worker is not None:
            worker.enter(share)
        return worker

    def for_session(
        self, held: Callable[[Worker], int], avoid: Collection[str] = (), kind: str = PYTHON
    ) -> Worker | None:
        """A worker with room for one more session, whose first run is of that kind; best one that
        can run all that others can."""
        self._next += 1
        able = placement.fewest_sessions(self._knowing(kind, self._able), held, self._next, avoid)
        if able is not None and able.name not in avoid:
            return able
        ready = self._knowing(kind, self.ready)
        return placement.fewest_sessions(ready, held, self._next, avoid) or able

    def describe(self) -> str:
        """How the workers are, for who waited for one in vain."""
        if not self.workers:
            return "the pool has no workers"
        total, ready = len(self.workers), len(self.ready)
        if ready == total:
            return f"all {total} workers of the pool are taken"
        reasons = [(w.name, why_not_ready(w)) for w in self.workers.values()]
        told = [f"{name} {why}" for name, why in reasons if why]
        more = f", and {len(told) - NAMED} more" if len(told) > NAMED else ""
        return f"{ready} of {total} workers are ready; {', '.join(told[:NAMED])}{more}"
