"""What ``python -m tests.cluster`` takes and refuses, before it does anything."""

import sys

import pytest
from tests.cluster import __main__ as command_line
from tests.cluster import bare, kind, slots
from tests.cluster.addresses import SLOTS, Addresses

MADE_BY = ["--slot=1", "--nodes=3", "--without-images", "--cluster=bare"]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["cluster", *arguments])
    command_line.main()


def test_a_slot_of_people_is_never_taken_for_a_killed_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "NAME", "anypod-test-of-people")
    assert not {*slots.OF_PEOPLE} & {*slots.abandoned()}


@pytest.mark.parametrize("slot", sorted({*range(SLOTS)} - {*slots.OF_PEOPLE}))
def test_no_cluster_is_made_by_hand_where_the_next_run_of_tests_would_end_it(
    slot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as refused:
        call(monkeypatch, "up", f"--slot={slot}")
    told = f"error: slot {slot} is for runs of tests, which end what they find in it: take 0 or 1"
    assert refused.value.code == told


def test_the_arguments_that_made_a_cluster_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[Addresses] = []
    monkeypatch.setattr(bare, "end", ended.append)
    monkeypatch.setattr(bare, "end_abandoned", lambda: None)
    monkeypatch.setattr(kind, "why_no_kind", lambda: "none here")
    call(monkeypatch, "down", *MADE_BY)
    assert ended == [Addresses(1)]
