"""Jobs find places in executors and parts of them, and take no more than they may."""

import pytest

from anypod.store.job_records import OpenJob
from anypod_gateway.jobs.openings import Openings, Room


def room(executors: int, spare: int | None = None, places: int = 0) -> Room:
    return Room(
        executors=executors,
        spare=executors if spare is None else spare,
        places=lambda revision: places if revision == "waits" else 0,
        allowed=lambda concurrency: min(concurrency, 10),
    )


ALONE = OpenJob(id="alone", revision="alone")
WAITS = OpenJob(id="waits", revision="waits", concurrency=50)
IN_SESSION = OpenJob(id="in-session", revision="waits", concurrency=50, session="s")


def begun(openings: Openings, *jobs: OpenJob) -> int:
    """How many of them may begin, in this order."""
    for number, job in enumerate(jobs):
        if not (openings.is_within_limit(job) and openings.take_place(job)):
            return number
        openings.count(job)
    return len(jobs)


@pytest.mark.parametrize(
    ("limit", "running", "expected"),
    [
        ("50%", [], 2),
        ("50%", [ALONE], 1),
        ("50%", [WAITS] * 9, 1),
        ("50%", [WAITS] * 10, 1),
        ("50%", [WAITS] * 11, 0),
        ("1%", [], 1),
        ("100%", [], 4),
        (3, [ALONE, ALONE], 4),  # a number of jobs is what slots count
    ],
)
def test_a_percentage_is_of_executors(
    limit: int | str, running: list[OpenJob], expected: int
) -> None:
    assert begun(Openings(room(4), limit, running), *[ALONE] * 9) == expected


def test_jobs_that_share_an_executor_take_a_part_of_it() -> None:
    assert begun(Openings(room(4), "50%", []), *[WAITS] * 99) == 20
    assert begun(Openings(room(4), "50%", [ALONE]), *[WAITS] * 99) == 10
    assert begun(Openings(room(4), "50%", []), *[IN_SESSION] * 99) == 2


def test_slots_are_numbered_for_as_many_as_there_may_be() -> None:
    percentage, number = Openings(room(4), "50%", []), Openings(room(4), 3, [])
    assert (percentage.slots(ALONE), number.slots(ALONE)) == (2, 3)
    assert (percentage.slots(WAITS), number.slots(WAITS)) == (20, 3)


def test_they_begin_where_others_of_theirs_are_though_no_executor_is_free() -> None:
    openings = Openings(room(4, spare=0, places=3), "100%", [WAITS])
    assert begun(openings, *[WAITS] * 9) == 3
    assert begun(Openings(room(4, spare=0, places=3), "100%", [WAITS]), ALONE) == 0
    assert begun(Openings(room(4, spare=1, places=3), "100%", [WAITS]), *[WAITS] * 99) == 13
