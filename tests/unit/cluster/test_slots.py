"""Two runs of the tests on one machine never have the same slot."""

import subprocess
import sys
from pathlib import Path

from tests.cluster import slots
from tests.cluster.addresses import SLOTS

ROOT = Path(__file__).resolve().parents[3]
TAKE = "from tests.cluster import slots; print(slots.take())"


def other_run(code: str = TAKE) -> str:
    call = [sys.executable, "-c", code]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def test_another_run_gets_another_slot_and_never_the_users() -> None:
    mine = slots.take()
    try:
        theirs = int(other_run())
        assert mine != theirs
        assert {mine, theirs}.isdisjoint({slots.USER, slots.KEPT})
    finally:
        slots.give_back(mine)


def test_a_slot_is_free_again_when_its_run_has_ended() -> None:
    """Else the later of these would find none."""
    assert all(int(other_run()) < SLOTS for _ in range(SLOTS))


def test_a_run_takes_again_what_it_gave_back() -> None:
    """A run of its own: this one may have given back others before."""
    again = """
from tests.cluster import slots
mine = slots.take()
slots.give_back(mine)
print(slots.take() == mine)
"""
    assert other_run(again) == "True"


def test_what_was_never_taken_cannot_be_had_by_giving_it_back() -> None:
    slots.give_back(slots.USER)
    mine = slots.take()
    assert mine != slots.USER
    slots.give_back(mine)


def test_when_none_is_free_it_is_said() -> None:
    loop = f"""
from tests.cluster import slots
try:
    for _ in range({SLOTS}):
        slots.take()
except RuntimeError as refused:
    print(refused)
"""
    assert other_run(loop) == "all 8 clusters that fit side by side are taken by runs of tests"
