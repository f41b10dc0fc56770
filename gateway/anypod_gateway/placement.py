"""Which worker gets the next execution: the least loaded one, and equal ones in turn.

Pure: what is known of the workers goes in, one of them comes out.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Protocol, TypeVar


class Candidate(Protocol):
    """A worker that may be given work."""

    @property
    def name(self) -> str: ...

    @property
    def executors(self) -> int: ...

    @property
    def in_flight(self) -> int:
        """Shared executors that this gateway's executions take."""
        ...

    @property
    def ahead(self) -> int:
        """Executions that it may be sent beyond its executors: they begin when one is free."""
        ...

    @property
    def others(self) -> int:
        """Shared executors that run something for others, as far as the worker has told."""
        ...

    @property
    def is_full(self) -> bool:
        """It has refused for want of an executor, and said nothing since."""
        ...

    @property
    def max_sessions(self) -> int: ...


C = TypeVar("C", bound=Candidate)


def least_loaded(workers: Sequence[C], start: int, avoid: Collection[str] = ()) -> C | None:
    """The one with most executors to spare, looked for from ``start`` on; one to avoid only if
    there is no other.

    What others use is old news, so it decides between workers but forbids none: else a gateway
    that is quick to refill would keep another one out for ever.
    """
    best: C | None = None
    best_spare = -(1 << 30)
    avoided: C | None = None
    count = len(workers)
    for step in range(count):
        worker = workers[(start + step) % count]
        free = worker.executors - worker.in_flight
        if free + worker.ahead <= 0 or worker.is_full:
            continue
        if avoid and worker.name in avoid:
            avoided = avoided or worker
            continue
        spare = free - worker.others
        if spare > best_spare:
            best, best_spare = worker, spare
            if spare >= worker.executors:
                break
    return best or avoided


def most_places(
    workers: Sequence[C],
    places: Callable[[C], int],
    concurrency: int,
    start: int,
    avoid: Collection[str] = (),
) -> C | None:
    """The one with most places for executions of which an executor takes ``concurrency``:
    ``places`` says how many are free in executors that such ones have already."""
    best: C | None = None
    best_spare = -(1 << 30)
    avoided: C | None = None
    count = len(workers)
    for step in range(count):
        worker = workers[(start + step) % count]
        there = places(worker)
        free = worker.executors - worker.in_flight
        if there <= 0 and (free <= 0 or worker.is_full):
            continue
        if worker.name in avoid:
            avoided = avoided or worker
            continue
        spare = there + concurrency * (free - worker.others)
        if spare > best_spare:
            best, best_spare = worker, spare
    return best or avoided


def fewest_sessions(
    workers: Sequence[C], held: Callable[[C], int], start: int, avoid: Collection[str] = ()
) -> C | None:
    """The one that holds fewest sessions of those that have room for one more."""
    best: C | None = None
    fewest = 0
    avoided: C | None = None
    count = len(workers)
    for step in range(count):
        worker = workers[(start + step) % count]
        holds = held(worker)
        if holds >= worker.max_sessions:
            continue
        if worker.name in avoid:
            avoided = avoided or worker
        elif best is None or holds < fewest:
            best, fewest = worker, holds
    return best or avoided
