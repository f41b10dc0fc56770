"""Demos of a state have values of their fields' types, and it is said which has not."""

from typing import Any

import pytest
from tests.support import dspy_runs

from anypod_worker.runtime.loading import InvalidProgram

# DSPy's own MultiChainComparison gives an argument that DSPy is going to drop.
pytestmark = pytest.mark.filterwarnings("ignore:The 'prefix' argument:DeprecationWarning")

NOWHERE = "http://127.0.0.1:9/v1"
PIXEL = "data:image/png;base64,AAAA"
ITEM = {"types": {"Item": {"fields": [{"name": "n", "type": "int"}, {"name": "s"}]}}}


def add(x: int) -> int:
    """One more."""
    return x + 1


AGENT = {
    "module": "ReAct",
    "tools": [{"name": "add", "source": "def add(x: int) -> int:\n    return x + 1\n"}],
}


def plan(demo: dict[str, Any], predictor: str = "self", **given: Any) -> Any:
    state = {predictor: {"demos": [{"q": "fits"}, demo]}}
    functions = {"add": add} if "tools" in given else {}
    return dspy_runs.plan(NOWHERE, functions, **{"signature": "q -> a", "state": state, **given})


@pytest.mark.parametrize(
    ("signature", "demo", "path", "message"),
    [
        ("q -> n: int", {"n": "many"}, "n", "valid integer"),
        ("q -> n: Literal['x', 'y']", {"n": "z"}, "n", "'x' or 'y'"),
        ("q, n: list[int] -> a", {"n": [1, "many"]}, "n.1", "valid integer"),
        ("q -> n: Item", {"n": {"n": 1}}, "n.s", "required"),
        ("q -> n: date", {"n": "2020-13-01"}, "n", "valid date"),
        ("q, n: Image -> a", {"n": {"url": "http://x"}}, "n", "data URI"),
        ("q -> n: dict[str, str]", {"n": "text"}, "n", "valid dictionary"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_place(
    signature: str, demo: dict[str, Any], path: str, message: str
) -> None:
    stored = plan(demo, signature=signature, **ITEM)  # what is there goes on to load
    with pytest.raises(InvalidProgram, match=message) as caught:
        stored.description()
    assert caught.value.failure.path == f"state.self.demos.1.{path}"


@pytest.mark.parametrize(
    ("demo", "predictor", "given"),
    [
        ({"n": 3}, "self", {"signature": "q -> n: int"}),
        ({"n": None}, "self", {"signature": "q -> n: int"}),
        ({"n": {"n": 1, "s": ""}, "augmented": True}, "self", {"signature": "q -> n: Item"}),
        ({"n": "2020-01-01"}, "self", {"signature": "q -> n: date"}),
        ({"n": [{"url": PIXEL}]}, "self", {"signature": "q, n: list[Image] -> a"}),
        ({"h": []}, "self", {"signature": "q, h: History -> a"}),
        ({"reasoning": "r"}, "predict", {"module": "ChainOfThought"}),
        ({"trajectory": "t", "next_tool_name": "add", "next_tool_args": {"x": 1}}, "react", AGENT),
        ({"reasoning": "r", "trajectory": "t"}, "extract.predict", AGENT),
        ({"rationale": "r"}, "compare", {"module": "MultiChainComparison"}),
    ],
)
def test_what_fits_is_taken(demo: dict[str, Any], predictor: str, given: dict[str, Any]) -> None:
    assert plan(demo, predictor, **{**ITEM, **given}).description()


def test_a_step_with_a_tool_that_is_not_there_is_refused() -> None:
    stored = plan({"next_tool_name": "subtract"}, "react", **AGENT)
    with pytest.raises(InvalidProgram, match="'add' or 'finish'"):
        stored.description()


def test_a_value_of_which_no_prompt_can_be_made_is_refused_with_its_place() -> None:
    with pytest.raises(InvalidProgram, match="valid string") as caught:
        plan({"q": "q", "a": [1]})
    assert caught.value.failure.path == "state.self.demos.1.a"
