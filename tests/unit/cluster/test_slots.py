"""Two runs of the tests on one machine never have the same slot."""

import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster import slots
from tests.cluster.addresses import SLOTS

ROOT = Path(__file__).resolve().parents[3]
FREE = SLOTS - 2
"""All but the user's and that of runs that keep theirs."""


@pytest.fixture(autouse=True)
def _others_do_not_count(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Other runs on this machine have slots, too."""
    monkeypatch.setattr(slots, "NAME", f"anypod-test-{secrets.token_hex(8)}")
    monkeypatch.setattr(slots, "_held", {})
    yield
    for slot in list(slots._held):
        slots.give_back(slot)


def other_run() -> int:
    code = f"from tests.cluster import slots; slots.NAME = {slots.NAME!r}; print(slots.take(0))"
    call = [sys.executable, "-c", code]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return int(done.stdout)


def test_another_run_gets_another_slot_and_never_the_users() -> None:
    mine = slots.take()
    theirs = other_run()
    assert mine != theirs
    assert {mine, theirs}.isdisjoint({slots.USER, slots.KEPT})


def test_a_slot_is_free_again_when_its_run_has_ended() -> None:
    for _ in range(FREE - 1):
        slots.take()
    assert other_run() == other_run()


def test_what_was_given_back_is_free_for_everybody() -> None:
    mine = [slots.take() for _ in range(FREE)]
    slots.give_back(mine[0])
    assert other_run() == mine[0]
    assert slots.take() == mine[0]


def test_what_was_never_taken_cannot_be_had_by_giving_it_back() -> None:
    slots.give_back(slots.USER)
    assert slots.take() != slots.USER


def test_what_nobody_has_is_abandoned_and_held_while_it_is_looked_at() -> None:
    mine = slots.take()
    seen = []
    for slot in slots.abandoned():
        seen.append(slot)
        assert other_run() not in (mine, slot)
    assert sorted([mine, *seen]) == list(range(2, SLOTS))
    assert other_run() == seen[0]


def test_when_none_is_free_it_is_waited_for() -> None:
    mine = [slots.take() for _ in range(FREE)]
    soon = threading.Timer(0.1, slots.give_back, [mine[2]])
    soon.start()
    assert slots.take(60) == mine[2]


def test_when_none_becomes_free_it_is_said() -> None:
    for _ in range(FREE):
        slots.take()
    with pytest.raises(RuntimeError, match="all 8 clusters that fit side by side are taken by run"):
        slots.take(0)
