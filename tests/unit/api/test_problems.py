"""The documents of errors."""

import json

import msgspec
from multidict import istr

from anypod.api.problems import problem


def test_a_problem_may_name_what_only_looks_like_text() -> None:
    """As a header's name does that is quick to look up."""
    told = msgspec.json.encode(problem("bad-request", "as the test has it", path=istr("Prefer")))
    assert json.loads(told)["path"] == "Prefer"
