"""Each run has a module of its own: what one run does to it, no other finds."""

import asyncio
from typing import Any

import pytest

from anypod.dspy.spec import Field, Module, PredictorState, Signature, Spec
from anypod_worker.kinds.dspy import modules

# DSPy's own MultiChainComparison gives an argument that DSPy is going to drop.
pytestmark = pytest.mark.filterwarnings("ignore:The 'prefix' argument:DeprecationWarning")

DEMO = {"question": "What is the capital of Italy?", "answer": "Rome"}
ANSWERS = Signature([Field("question")], [Field("answer")])


def add(x: int, y: int) -> int:
    return x + y


def parts(name: Any) -> modules.Parts:
    tools = {"add": add} if name == "ReAct" else {}
    predictors = [n for n, _ in modules.build(_parts(name, {}, tools)).named_predictors()]
    state = {n: PredictorState("Be brief, and use `add`.", [DEMO]) for n in predictors}
    return _parts(name, state, tools)


def _parts(name: Any, state: dict[str, PredictorState], tools: dict[str, Any]) -> modules.Parts:
    return modules.parts(Spec(ANSWERS, Module(name), state=state), tools)


@pytest.mark.parametrize("name", ["Predict", "ChainOfThought", "ReAct", "MultiChainComparison"])
def test_what_a_run_does_to_its_module_no_other_finds(name: str) -> None:
    made = parts(name)
    before = told(modules.build(made))
    used = modules.build(made)
    for _, predictor in used.named_predictors():
        predictor.demos[0]["answer"] = "Turin"
        predictor.demos.append(predictor.demos[0])
        predictor.signature = predictor.signature.with_instructions("Be long.")
        predictor.lm = object()
        predictor.history.append("what was asked")
    if name == "ReAct":
        used.tools.clear()
    assert told(modules.build(made)) == before
    assert "Be brief" in before


@pytest.mark.parametrize("name", ["Predict", "ChainOfThought", "ReAct", "MultiChainComparison"])
def test_a_copy_is_what_a_new_one_would_be(name: str) -> None:
    assert told(modules.build(parts(name))) == told(modules.build(parts(name)))


def told(module: Any) -> str:
    """All of it that a run depends on."""
    predictors = [
        (n, p.dump_state(), p.signature.instructions, p.lm, p.history, p.traces)
        for n, p in module.named_predictors()
    ]
    return repr((predictors, sorted(getattr(module, "tools", {})), type(module)))


async def test_the_next_runs_copy_is_made_while_one_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = parts("ChainOfThought")
    copies: list[Any] = []
    deepcopy = type(made.module).deepcopy

    def noted(module: Any) -> Any:
        copies.append(deepcopy(module))
        return copies[-1]

    monkeypatch.setattr(type(made.module), "deepcopy", noted)
    first, second = made.copies.take(), made.copies.take()  # nobody has waited yet
    assert copies == [first, second]
    await asyncio.sleep(0)
    assert len(copies) == 3
    third = made.copies.take()
    assert third is copies[2]
    assert len({id(module) for module in (first, second, third, made.module)}) == 4
    assert told(third) == told(made.module)
    await asyncio.sleep(0)
    assert len(copies) == 4
