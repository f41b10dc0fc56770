"""Placement is a pure choice: the least loaded worker, equal ones in turn."""

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from anypod_gateway.placement import fewest_sessions, least_loaded


@dataclass(frozen=True)
class Candidate:
    name: str
    executors: int = 2
    in_flight: int = 0
    ahead: int = 0
    others: int = 0
    is_full: bool = False
    max_sessions: int = 8
    sessions: int = 0


def held(worker: Candidate) -> int:
    return worker.sessions


def test_the_worker_with_most_executors_to_spare_is_chosen() -> None:
    workers = [Candidate("a", in_flight=1), Candidate("b"), Candidate("c", others=1)]
    assert {least_loaded(workers, start) for start in range(6)} == {workers[1]}


def test_equally_loaded_workers_are_chosen_in_turn() -> None:
    workers = [Candidate(name) for name in "abc"]
    chosen = Counter(least_loaded(workers, start) for start in range(30))
    assert set(chosen.values()) == {10}


def test_a_worker_without_a_free_executor_is_not_chosen() -> None:
    assert least_loaded([Candidate("a", in_flight=2), Candidate("b", is_full=True)], 0) is None
    assert least_loaded([], 0) is None


def test_what_others_use_does_not_keep_a_gateway_out() -> None:
    busy = Candidate("a", others=2)
    assert least_loaded([busy], 0) is busy


def test_a_worker_to_avoid_is_chosen_only_when_there_is_no_other() -> None:
    workers = [Candidate("a"), Candidate("b", in_flight=1)]
    assert least_loaded(workers, 0, {"a"}) is workers[1]
    assert least_loaded(workers, 0, {"a", "b"}) is not None
    assert fewest_sessions(workers, held, 0, {"a"}) is workers[1]
    assert fewest_sessions(workers, held, 0, {"a", "b"}) is not None


def test_a_session_goes_where_fewest_are_and_never_where_there_is_no_room() -> None:
    workers = [Candidate("a", sessions=3), Candidate("b", sessions=2)]
    assert fewest_sessions(workers, held, 0) is workers[1]
    full = [Candidate("a", sessions=8), Candidate("b", max_sessions=0)]
    assert fewest_sessions(full, held, 0) is None


@given(
    st.lists(
        st.builds(
            Candidate,
            name=st.sampled_from("abcdef"),
            executors=st.integers(0, 4),
            in_flight=st.integers(0, 5),
            others=st.integers(0, 5),
            is_full=st.booleans(),
        ),
        max_size=6,
    ),
    st.integers(0, 100),
    st.sets(st.sampled_from("abcdef")),
)
def test_a_choice_is_made_exactly_when_some_worker_has_room(
    workers: list[Candidate], start: int, avoid: set[str]
) -> None:
    chosen = least_loaded(workers, start, avoid)
    room = [w for w in workers if not w.is_full and w.in_flight < w.executors]
    preferred = [w for w in room if w.name not in avoid]
    if preferred:
        most = max(w.executors - w.in_flight - w.others for w in preferred)
        assert chosen in preferred
        assert chosen is not None
        found = chosen.executors - chosen.in_flight - chosen.others
        assert found == most or found >= chosen.executors
    else:
        assert (chosen in room) if room else chosen is None


def test_work_is_sent_ahead_only_where_no_executor_is_free() -> None:
    quick, free = Candidate("a", in_flight=2, ahead=4), Candidate("b", in_flight=1)
    assert {least_loaded([quick, free], start) for start in range(4)} == {free}
    assert least_loaded([quick], 0) is quick
    assert least_loaded([Candidate("a", in_flight=6, ahead=4)], 0) is None
