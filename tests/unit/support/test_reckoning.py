"""A reckoning that could find nothing wrong would prove nothing."""

from typing import Any

import pytest
from tests.support import side_effects
from tests.support.insistent import Account, Request
from tests.support.reckoning import Reckoned, reckon
from tests.support.side_effects import SideEffects


def request(name: str, *, is_job: bool = False, idempotent: bool = False) -> Request:
    return Request(name, 0, "again" if idempotent else "once", is_job, idempotent, 0.0)


def effects(text: str) -> SideEffects:
    return side_effects.read(text.splitlines())


def told(one: Request, known: str | None, told: SideEffects, **account: Any) -> Reckoned:
    return reckon([one], Account({one.name: known}, **account), told)


JOB = {"state": "succeeded", "attempts": 1, "maxAttempts": 1}


def test_what_fits_is_counted() -> None:
    log = effects("begin a 1\nend a 1\n")
    call = told(request("a"), "1", log)
    assert (call.unexplained, call.runs_that_began, call.runs_that_ended) == ([], 1, 1)
    job = told(request("a", is_job=True), "j", log, jobs={"j": JOB}, results={"j": "1"})
    assert job.unexplained == []
    assert job.states == {"jobs once": {"succeeded": 1}}


@pytest.mark.parametrize(
    ("log", "known"),
    [
        ("begin a 1\nend a 1\nbegin a 2\nend a 2\n", "2"),  # a key that was run twice
        ("begin a 1\nbegin a 2\n", None),
        ("begin a 1\n", "1"),  # an answer of what did not end
        ("", "1"),
        ("begin a 1\nbeside a 2\nend a 1\n", "1"),
        ("begin b 1\nend b 1\nbegin a 2\nend a 2\n", "2"),  # a run that nobody asked for
    ],
)
def test_what_does_not_fit_a_call_is_found(log: str, known: str | None) -> None:
    assert told(request("a"), known, effects(log)).unexplained


@pytest.mark.parametrize(
    ("jobs", "log"),
    [
        ({}, "begin a 1\nend a 1\n"),  # an accepted job that nobody knows
        ({"j": JOB, "k": JOB}, "begin a 1\nend a 1\n"),  # a key that was accepted twice
        ({"j": {**JOB, "state": "running"}}, "begin a 1\nend a 1\n"),
        ({"j": {**JOB, "state": "failed"}}, "begin a 1\nend a 1\n"),
        ({"j": JOB}, ""),
        ({"j": {**JOB, "maxAttempts": 3, "state": "lost"}}, "begin a 1\n"),
        ({"j": JOB}, "begin a 1\nbegin a 2\nend a 2\n"),
    ],
)
def test_what_does_not_fit_a_job_is_found(jobs: Any, log: str) -> None:
    one = request("a", is_job=True, idempotent=True)
    assert told(one, "j", effects(log), jobs=jobs, results={"j": "1"}).unexplained


def test_who_got_no_answer_is_found() -> None:
    assert reckon([request("a")], Account({}), effects("")).unexplained
