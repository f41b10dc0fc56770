"""What the workload of a pod tells the test that started it."""

import json

from tests.support.workload import Tally, told


def test_a_tally_is_told_whole() -> None:
    tally = Tally(wrong=["run: 404"])
    tally.note("create 201")
    tally.workers["w-1"] += 2
    assert json.loads(told(tally)) == {
        "broken": 0,
        "operations": 1,
        "outcomes": {"create 201": 1},
        "unavailable": 0,
        "wrong": ["run: 404"],
        "workers": {"w-1": 2},
    }
