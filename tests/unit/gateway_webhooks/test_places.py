"""Receivers that hang, and callers with many of them, hold up nobody else."""

import random
from collections import Counter
from collections.abc import Iterator

from anypod.store.job_records import Delivery
from anypod_gateway.webhooks.places import (
    AT_ONCE,
    AT_ONCE_TO_ONE,
    AT_ONCE_TO_SLOW,
    AT_ONCE_UNPROVEN,
    MOST_REMEMBERED,
    SLOW_SECONDS,
    Places,
    Standing,
)


def lane(origin: str, count: int = 100, caller: str = "") -> Iterator[Delivery]:
    named = (f"{caller}/{origin}/{number}" for number in range(count))
    return iter([Delivery(job=job, caller=caller, origin=origin) for job in named])


def taken(places: Places, *lanes: Iterator[Delivery]) -> list[Delivery]:
    return list(places.take(lanes))


def origins(found: list[Delivery]) -> Counter[str]:
    return Counter(one.origin for one in found)


def known(quick: tuple[str, ...] = (), slow: tuple[str, ...] = ()) -> Places:
    made = Places()
    for origin in quick:
        made.note(origin, 0.0)
    for origin in slow:
        made.note(origin, SLOW_SECONDS)
    return made


def test_an_origin_of_which_nothing_is_known_is_called_once_until_that_has_ended() -> None:
    places = Places()
    assert origins(taken(places, lane("a"), lane("b"))) == {"a": 1, "b": 1}
    places.leave("/a/0")
    places.note("a", 0.1)
    assert origins(taken(places, lane("a"), lane("b"))) == {"a": AT_ONCE_TO_ONE}


def test_all_places_are_for_those_that_answer() -> None:
    names = tuple("abcdef")
    found = taken(known(quick=names), *map(lane, names))
    assert len(found) == AT_ONCE
    assert max(origins(found).values()) == 3, "one has more than its share"


def test_those_that_were_slow_leave_places_to_all_others() -> None:
    slow = tuple(f"slow-{number}" for number in range(20))
    places = known(quick=("quick",), slow=slow)
    assert origins(taken(places, *map(lane, slow))).total() == AT_ONCE_TO_SLOW
    new = [f"new-{number}" for number in range(20)]
    assert len(taken(places, *map(lane, new))) == AT_ONCE_UNPROVEN - AT_ONCE_TO_SLOW
    assert origins(taken(places, *map(lane, slow), *map(lane, new), lane("quick"))) == {
        "quick": AT_ONCE_TO_ONE
    }


def test_one_that_is_slow_alone_has_as_many_as_any() -> None:
    assert origins(taken(known(slow=("a",)), lane("a"))) == {"a": AT_ONCE_TO_ONE}


def test_trust_that_is_lost_comes_back_step_by_step() -> None:
    places = known(quick=("a",))
    assert places.standing("a") is Standing.QUICK
    for seconds, standing in (
        (SLOW_SECONDS, Standing.SLOW),
        (0.0, Standing.UNKNOWN),
        (0.0, Standing.QUICK),
        (0.0, Standing.QUICK),
    ):
        places.note("a", seconds)
        assert places.standing("a") is standing


def test_a_caller_with_many_origins_is_served_after_one_with_few() -> None:
    places = Places()
    many = [f"many-{number}" for number in range(100)]
    first = taken(places, *(lane(name, caller="ada") for name in many))
    assert len(first) == AT_ONCE_UNPROVEN
    places.leave(first[0].job)
    waiting = [lane(name, caller="ada") for name in many[20:]]
    (next_,) = taken(places, *waiting, lane("other", caller="bob"))
    assert next_.caller == "bob"


def test_a_place_that_is_left_is_free_however_its_origin_was_judged_since() -> None:
    chance = random.Random(7)
    places, held = Places(), set[str]()
    for turn in range(2_000):
        names = [f"o{number}" for number in range(30)]
        lanes = [
            iter([Delivery(job=f"{turn}/{name}/{n}", origin=name) for n in range(3)])
            for name in names
        ]
        held |= {one.job for one in places.take(lanes)}
        assert len(held) <= AT_ONCE
        for job in sorted(held):
            if chance.random() < 0.3:
                places.leave(job)
                held.remove(job)
                places.note(job.split("/")[1], chance.choice((0.0, SLOW_SECONDS)))
    for job in held:
        places.leave(job)
    quick = tuple("abcdef")
    for name in quick:
        places.note(name, 0.0)
    assert len(taken(places, *map(lane, quick))) == AT_ONCE


def test_what_is_remembered_of_origins_is_bounded() -> None:
    places = Places()
    for number in range(MOST_REMEMBERED + 1):
        places.note(f"o{number}", 0.0)
        places.note("o1", SLOW_SECONDS)
    assert places.standing("o0") is Standing.UNKNOWN
    assert places.standing("o1") is Standing.SLOW
    assert places.standing(f"o{MOST_REMEMBERED}") is Standing.QUICK
