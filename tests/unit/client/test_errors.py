"""What a problem is raised as."""

import pytest

from anypod.api.problems import OF_THE_PROGRAM, TABLE, problem
from anypod.client import InvalidInputs, LmFailed, ProgramFailed, Refused
from anypod.client.errors import error_of


@pytest.mark.parametrize("type_", OF_THE_PROGRAM)
def test_what_a_run_ends_in_is_not_raised_as_if_nothing_had_run(type_: str) -> None:
    raised = error_of(problem(type_, "?"))
    assert isinstance(raised, ProgramFailed | LmFailed | InvalidInputs)
    assert isinstance(raised, Refused) == (type_ == "invalid-inputs")


@pytest.mark.parametrize("type_", [type_ for type_ in TABLE if type_.startswith(("lm-", "model-"))])
def test_whatever_an_lm_is_to_blame_for_is_one_family(type_: str) -> None:
    assert isinstance(error_of(problem(type_, "?")), LmFailed)
