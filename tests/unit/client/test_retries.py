"""A call is sent again only if it provably did not start, or if that does no harm."""

import pytest

from anypod.api.problems import TABLE, problem
from anypod.client.errors import (
    AnswerLost,
    TimedOut,
    UnexpectedAnswer,
    Unreachable,
    error_of,
)
from anypod.client.retries import Attempts


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def attempts(
    *, retries: int = 2, seconds: float = 60, repeatable: bool = False, keyed: bool = False
) -> Attempts:
    made = Attempts(retries, seconds, repeatable, keyed, Time(), jitter=lambda: 0.5)
    made.left()
    return made


def told(type_: str, **members: object) -> Exception:
    return error_of(problem(type_, "scripted", **members))


@pytest.mark.parametrize(
    "failure", [Unreachable("refused"), told("queue-full"), told("no-worker")], ids=str
)
def test_what_never_started_is_sent_again(failure: Exception) -> None:
    assert attempts().pause(failure) is not None


@pytest.mark.parametrize(
    "failure",
    [AnswerLost("cut"), told("worker-lost"), told("store-unavailable")],
    ids=str,
)
def test_what_may_have_started_is_sent_again_only_if_that_does_no_harm(failure: Exception) -> None:
    assert attempts().pause(failure) is None
    assert attempts(repeatable=True).pause(failure) is not None


@pytest.mark.parametrize("failure", [AnswerLost("cut"), told("store-unavailable")], ids=str)
def test_with_a_key_a_lost_answer_is_asked_for_again(failure: Exception) -> None:
    assert attempts(keyed=True).pause(failure) is not None


def test_a_lost_worker_is_the_callers_to_decide_about_though_there_is_a_key() -> None:
    assert attempts(keyed=True).pause(told("worker-lost")) is None


@pytest.mark.parametrize(
    "failure",
    [
        TimedOut("late"),
        UnexpectedAnswer("html"),
        KeyError("ours"),
        *(told(name) for name, row in TABLE.items() if row.status not in {429, 502, 503}),
    ],
    ids=repr,
)
def test_nothing_else_is_ever_sent_again(failure: Exception) -> None:
    assert attempts(repeatable=True).pause(failure) is None


def test_the_gateway_says_how_long_to_wait() -> None:
    assert attempts().pause(told("queue-full", retry_after=7)) == 7


def test_a_wait_beyond_the_time_that_is_left_is_not_begun() -> None:
    assert attempts(seconds=5).pause(told("queue-full", retry_after=7)) is None


def test_pauses_grow_and_end() -> None:
    one = attempts(retries=3)
    pauses = [one.pause(Unreachable("refused"))]
    for _ in range(3):
        one.left()
        pauses.append(one.pause(Unreachable("refused")))
    assert pauses == [0.1, 0.2, 0.4, None]


def test_no_attempt_begins_after_the_time_is_over() -> None:
    clock = Time()
    one = Attempts(2, 5, False, False, clock)
    assert one.left() == 5
    clock.now += 6
    with pytest.raises(TimedOut, match="5 seconds"):
        one.left()
