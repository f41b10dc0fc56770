"""Who is called next, of all that are to be told of an end, and how many at once.

A receiver that hangs has its place until the attempt's deadline. So places are kept for origins
that have answered quickly, and some for those of which nothing is known yet; and a place that is
free goes to whose caller, and then whose origin, has the fewest. No I/O.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from enum import IntEnum

from anypod.store.job_records import Delivery

AT_ONCE = 16
AT_ONCE_TO_ONE = 4
"""Of an origin that has been called before; of another only one, until it has been."""
AT_ONCE_UNPROVEN = 12
AT_ONCE_TO_SLOW = 8
SLOW_SECONDS = 2.0
MOST_REMEMBERED = 10_000


class Standing(IntEnum):
    """Of an origin, by how long the attempts to tell it have taken here."""

    QUICK = 0
    UNKNOWN = 1
    SLOW = 2


class Places:
    def __init__(self) -> None:
        self._standings: dict[str, Standing] = {}
        """Of origins that are not unknown; first which was called longest ago."""
        self._taken: dict[str, tuple[Delivery, Standing]] = {}
        """By job, with the standing of the origin by then."""
        self._left = [AT_ONCE, AT_ONCE_UNPROVEN, AT_ONCE_TO_SLOW]
        """Places for a Standing and all worse ones together."""
        self._origins: Counter[str] = Counter()
        self._callers: Counter[str] = Counter()

    def take(self, lanes: Iterable[Iterator[Delivery]]) -> Iterator[Delivery]:
        """Each that is called now has a place by that. ``lanes``: of one caller and origin each,
        and first whose turn it is among equals."""
        waiting: list[tuple[int, int, int, Delivery, Iterator[Delivery]]] = []

        def put(turn: int, lane: Iterator[Delivery]) -> None:
            one = next(lane, None)
            if one is not None and self._has_one(one.origin):
                heapq.heappush(waiting, (*self._share(one), turn, one, lane))

        for turn, lane in enumerate(lanes):
            put(turn, lane)
        while waiting:
            caller, origin, turn, one, lane = heapq.heappop(waiting)
            if not self._has_one(one.origin):
                continue
            if (caller, origin) != self._share(one):  # which has grown meanwhile
                heapq.heappush(waiting, (*self._share(one), turn, one, lane))
                continue
            self._take(one)
            yield one
            put(turn, lane)

    def _has_one(self, origin: str) -> bool:
        standing = self.standing(origin)
        of_one = 1 if standing is Standing.UNKNOWN else AT_ONCE_TO_ONE
        return self._origins[origin] < of_one and min(self._left[: standing + 1]) > 0

    def _share(self, one: Delivery) -> tuple[int, int]:
        return self._callers[one.caller], self._origins[one.origin]

    def _take(self, one: Delivery) -> None:
        standing = self.standing(one.origin)
        self._taken[one.job] = one, standing
        self._count(one, standing, 1)

    def leave(self, job: str) -> None:
        self._count(*self._taken.pop(job), -1)

    def _count(self, one: Delivery, standing: Standing, places: int) -> None:
        for index in range(standing + 1):
            self._left[index] -= places
        for taken, key in ((self._origins, one.origin), (self._callers, one.caller)):
            taken[key] += places
            if not taken[key]:
                del taken[key]

    # what is known of origins

    def standing(self, origin: str) -> Standing:
        return self._standings.get(origin, Standing.UNKNOWN)

    def note(self, origin: str, seconds: float) -> None:
        """An attempt took that long. Trust that is lost comes back step by step."""
        before = self._standings.pop(origin, Standing.UNKNOWN)
        standing = Standing.SLOW if seconds >= SLOW_SECONDS else Standing(max(before - 1, 0))
        if standing is not Standing.UNKNOWN:
            self._standings[origin] = standing
        if len(self._standings) > MOST_REMEMBERED:
            del self._standings[next(iter(self._standings))]
