"""An agent's instructions tell of its tools, of all of them and of no others."""

import dspy
import pytest

from anypod.dspy.spec import Field, LmChoice, Module, PredictorState, Signature, Spec
from anypod.wire.config import Lm
from anypod_worker.kinds.dspy import lms, modules
from anypod_worker.kinds.given import Given
from anypod_worker.runtime.loading import InvalidProgram

ANSWERS = Signature([Field("question")], [Field("answer")])


def add(x: int, y: int) -> int:
    """Both together."""
    return x + y


def subtract(x: int, y: int) -> int:
    """What is left."""
    return x - y


def check(instructions: str) -> None:
    state = {"react": PredictorState(instructions)}
    modules.check(modules.parts(Spec(ANSWERS, Module("ReAct"), state=state), {"add": add}))


def told(*tools: object) -> str:
    instructions: str = dspy.ReAct(
        "question -> answer", tools=list(tools)
    ).react.signature.instructions
    return instructions


@pytest.mark.parametrize(
    "instructions", [told(add), "Be brief, and use `add`.", f"Hm. {told(add)}"]
)
def test_the_programs_own_are_taken(instructions: str) -> None:
    check(instructions)


@pytest.mark.parametrize(
    "instructions",
    [
        "Use address and subtract only.",
        told(add, subtract),
        told(subtract),
        told(add).replace("Both together", "What is left"),
    ],
)
def test_others_are_refused(instructions: str) -> None:
    with pytest.raises(InvalidProgram) as caught:
        check(instructions)
    assert caught.value.failure.path == "state.react.instructions"


@pytest.mark.parametrize(
    ("model", "sent"), [("openai/gpt-5-mini", {}), ("openai/gpt-4o-mini", {"temperature": 0.7})]
)
async def test_candidates_differ_as_far_as_the_lm_lets_them(
    model: str, sent: dict[str, float]
) -> None:
    lm = Lm("fast", model)
    asked = lms.made(lm, LmChoice(), Given(), lms.Meter(lm))
    assert modules._diverse(asked) == sent
