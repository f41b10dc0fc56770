"""How many jobs may begin now: as many as find a place, and as jobs together may take. No I/O.

Both are counted in executors. A job of a program that shares executors takes a part of one, and
finds a place in one that others of its revision are in already.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from anypod.store.job_records import OpenJob

_PARTS = 1000
"""Of an executor."""


@dataclass(frozen=True, slots=True)
class Room:
    """What the pool's workers have, as this gateway knows."""

    executors: int
    spare: int
    """Executors that run nothing; none when a call waits for one."""
    places: Callable[[str], int]
    """Free ones in executors that run that revision; none when a call waits."""
    allowed: Callable[[int], int]
    """What of a program's concurrency the pool allows."""

    def shared_by(self, job: OpenJob) -> int:
        """How many of them an executor takes."""
        return 1 if job.session is not None else self.allowed(job.concurrency)


class Openings:
    def __init__(self, room: Room, limit: int | str, running: Iterable[OpenJob]) -> None:
        """``limit``: jobs, or a percentage of executors; ``running``: what takes that already."""
        self._room = room
        self._limit = limit
        self._spare = room.spare
        self._places: dict[str, int] = {}
        """Left, by revision."""
        self._parts: float = math.inf if isinstance(limit, int) else _PARTS * self._executors()
        for job in running:
            self._parts -= _parts(room.shared_by(job))

    def slots(self, job: OpenJob) -> int:
        """How many numbered slots there are for jobs such as this."""
        if isinstance(self._limit, int):
            return max(1, self._limit)
        return self._executors() * self._room.shared_by(job)

    def _executors(self) -> int:
        """Of those that jobs may take; one, at least."""
        percent = int(str(self._limit).rstrip("%"))
        return max(1, math.floor(self._room.executors * percent / 100))

    def is_within_limit(self, job: OpenJob) -> bool:
        return _parts(self._room.shared_by(job)) <= self._parts

    def count(self, job: OpenJob) -> None:
        """It runs now, too."""
        self._parts -= _parts(self._room.shared_by(job))

    def take_place(self, job: OpenJob) -> bool:
        """Whether there was one."""
        shared_by = self._room.shared_by(job)
        places = self._places_for(job.revision) if shared_by > 1 else 0
        if places == 0:
            if self._spare <= 0:
                return False
            self._spare -= 1
            places = shared_by
        if shared_by > 1:
            self._places[job.revision] = places - 1
        return True

    def _places_for(self, revision: str) -> int:
        if revision not in self._places:
            self._places[revision] = self._room.places(revision)
        return self._places[revision]


def _parts(shared_by: int) -> int:
    return _PARTS // shared_by
