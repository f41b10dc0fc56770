"""What optimisers find, for programs of each shape: in this process, with a real server to ask."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from tests.support.lm_server import Asked, LmServer, chat

from anypod import reporting
from anypod.api.dspy_checks import spec_of
from anypod.api.dspy_programs import CreateDspyProgram
from anypod.dspy import tasks
from anypod.wire.config import Lm
from anypod_worker.kinds.dspy import kind
from anypod_worker.kinds.dspy.tasks import TaskPlan
from anypod_worker.kinds.given import Given

# DSPy's own MultiChainComparison gives an argument that DSPy is going to drop.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The 'prefix' argument:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Argument ``multivariate``"),  # DSPy's, to optuna
]

BOOTSTRAP = tasks.Optimizer("BootstrapFewShot", max_labeled_demos=0)
EXACT = tasks.Metric("exact-match", "answer")
KEY = "sk-secret-0123456789abcdef"


def definition(**fields: Any) -> dict[str, Any]:
    return {"kind": "dspy", "signature": "question -> answer", **fields}


async def optimised(
    lm: LmServer,
    folder: Path,
    program: dict[str, Any],
    optimizer: tasks.Optimizer,
    trainset: list[dict[str, Any]],
    metric: tasks.Metric = EXACT,
) -> Any:
    kind.prepare()
    document = spec_of(CreateDspyProgram.model_validate(program))
    plan = kind._plan(document, folder, [Lm("fast", "hosted_vllm/fast", lm.url, retries=0)])
    task = TaskPlan.of(plan, tasks.Task(metric, optimizer), folder)
    data = json.dumps({"trainset": trainset}).encode()
    arguments, _ = task.bind(data, None, Given(keys={"fast": KEY}))
    return await task.entry(*arguments)


def examples(*numbers: int, **inputs: Any) -> list[dict[str, Any]]:
    return [
        {"inputs": {"question": f"What is {n}?", **inputs}, "expected": {"answer": "42"}}
        for n in numbers
    ]


def with_state(program: dict[str, Any], found: Any) -> Any:
    """The revision that is written."""
    return spec_of(CreateDspyProgram.model_validate({**program, "state": found["state"]}))


TURNS = [{"question": "Who are you?", "answer": "Nobody."}]


@pytest.mark.parametrize("turns", [[], TURNS])
@pytest.mark.parametrize("labeled", [0, 16])
async def test_a_conversation_is_asked_with_and_is_in_no_demo(
    lm: LmServer, tmp_path: Path, turns: list[dict[str, Any]], labeled: int
) -> None:
    lm.script = lambda _: chat(answer="42")
    program = definition(signature="question, history: History -> answer")
    optimizer = tasks.Optimizer(
        "BootstrapFewShot", max_bootstrapped_demos=1, max_labeled_demos=labeled
    )
    found = await optimised(lm, tmp_path, program, optimizer, examples(1, 2, history=turns))
    demos = found["state"]["self"]["demos"]
    assert [set(demo) for demo in demos if demo.get("augmented")] == [
        {"augmented", "question", "answer"}
    ]
    assert len(demos) == (2 if labeled else 1)
    assert all("history" not in demo for demo in demos)
    said = [one for asked in lm.asked for one in asked.body["messages"] if one["role"] != "system"]
    assert all("## history ##" not in str(one["content"]) for one in said)
    assert all(("Who are you?" in asked.prompt) == bool(turns) for asked in lm.asked)
    assert with_state(program, found).state


OPTIMIZERS = [BOOTSTRAP, tasks.Optimizer("GEPA", max_metric_calls=8)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["BootstrapFewShot", "GEPA"])
async def test_the_score_is_told_all_the_way(
    lm: LmServer, tmp_path: Path, optimizer: tasks.Optimizer
) -> None:
    said: list[str] = []
    lm.script = lambda asked: (
        json.dumps({"new_instruction": "Say more."})
        if "new_instruction" in asked.prompt
        else chat(answer="It is 42, or so")
    )
    reporting.listen(lambda _done, _total, message: said.append(message))
    try:
        metric = tasks.Metric("f1", "answer")
        await optimised(lm, tmp_path, definition(), optimizer, examples(1, 2), metric)
    finally:
        reporting.listen(None)
    stages = {"before": "before: score 0.333", "after": "after: score 0.333"}
    assert said[:2] == [stages["before"]] * 2
    assert said[-2:] == [stages["after"]] * 2
    between = said[2:-2]
    assert len(between) >= 2
    assert between == [
        f"optimising: score 0.333, 0 of {number} good enough"
        for number in range(1, len(between) + 1)
    ]


async def test_what_is_found_for_a_comparison_is_a_program(lm: LmServer, tmp_path: Path) -> None:
    lm.script = lambda _: chat(reasoning="r", rationale="r", answer="42")
    program = definition(module={"name": "MultiChainComparison", "candidates": 2})
    found = await optimised(lm, tmp_path, program, BOOTSTRAP, examples(1))
    [demo] = found["state"]["compare"]["demos"]
    assert {"reasoning_attempt_1", "reasoning_attempt_2", "rationale"} <= set(demo)
    assert found["after"]["score"] == 1.0
    assert with_state(program, found).state["compare"].demos == [demo]


async def test_what_fails_is_logged_without_the_program_its_data_and_keys(
    lm: LmServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lm.then(*[chat(answer="42")] * 2)
    lm.script = lambda _: "in no form"
    logging.getLogger("dspy").addHandler(caplog.handler)
    try:
        await optimised(lm, tmp_path, definition(), BOOTSTRAP, examples(1, 2))
    finally:
        logging.getLogger("dspy").removeHandler(caplog.handler)
    [first, _] = [one.getMessage() for one in caplog.records if "Failed to run" in one.message]
    assert "What is 1?" in first
    assert "What is 2?" not in first
    assert len(first) < 1000
    assert KEY not in caplog.text
    assert KEY not in repr(Given(keys={"fast": KEY}))


async def test_labelled_demos_are_of_the_outputs_type(lm: LmServer, tmp_path: Path) -> None:
    lm.script = lambda _: chat(n="1")
    program = definition(signature="question -> n: int")
    data = [
        {"inputs": {"question": str(said)}, "expected": {"n": said}}
        for said in (["one", 7, 8], "many")
    ]
    optimizer = tasks.Optimizer("BootstrapFewShot", max_bootstrapped_demos=0, max_labeled_demos=2)
    metric = tasks.Metric("contains", "n")
    found = await optimised(lm, tmp_path, program, optimizer, data, metric)
    assert [demo["n"] for demo in found["state"]["self"]["demos"]] == [7]
    assert with_state(program, found).state


MIPRO = tasks.Optimizer("MIPROv2", max_labeled_demos=0, candidates=2, trials=2)


async def test_a_proposal_that_cannot_be_used_ends_nothing(
    lm: LmServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lm.script = lambda asked: (
        "in no form" if "proposed_instruction" in asked.prompt else chat(answer="42")
    )
    found = await optimised(lm, tmp_path, definition(), MIPRO, examples(1, 2))
    assert any("proposed_instruction" in asked.prompt for asked in lm.asked)
    assert "no new instructions were proposed: AdapterParseError" in caplog.text
    assert (found["before"]["score"], found["after"]["score"]) == (1.0, 1.0)


GEPA = tasks.Optimizer("GEPA", max_metric_calls=16)
BETTER = "Say what is right."
PIXEL = {"url": "data:image/png;base64,iVBORw0KGgo="}


def in_form(adapter: str, fields: dict[str, str]) -> str:
    if adapter == "json":
        return json.dumps(fields)
    if adapter == "xml":
        return "\n".join(f"<{name}>\n{value}\n</{name}>" for name, value in fields.items())
    return chat(**fields)


@pytest.mark.parametrize("optimizer", [MIPRO, GEPA], ids=lambda one: one.name)
@pytest.mark.parametrize(
    ("program", "inputs"),
    [
        ({"module": {"name": "MultiChainComparison", "candidates": 2}}, {}),
        ({"signature": "question, history: History -> answer"}, {"history": TURNS}),
        ({"signature": "question, picture: Image -> answer"}, {"picture": PIXEL}),
        ({"adapter": "json"}, {}),
        ({"adapter": "xml"}, {}),
    ],
    ids=["comparison", "conversation", "image", "json", "xml"],
)
async def test_better_instructions_are_found_for_programs_of_each_shape(
    lm: LmServer,
    tmp_path: Path,
    program: dict[str, Any],
    inputs: dict[str, Any],
    optimizer: tasks.Optimizer,
) -> None:
    more = dict.fromkeys(("reasoning", "rationale", "summary", "observations"), "r")

    def script(asked: Asked) -> str:
        if "new_instruction" in asked.prompt:  # which GEPA asks for as JSON, whatever the program's
            return json.dumps({"new_instruction": BETTER})
        said = {"proposed_instruction": BETTER, **more}
        said["answer"] = "42" if BETTER in asked.prompt else "41"
        return in_form(program.get("adapter", "chat"), said)

    lm.script = script
    given = definition(**program)
    found = await optimised(lm, tmp_path, given, optimizer, examples(1, 2, **inputs))
    assert (found["before"]["score"], found["after"]["score"]) == (0.0, 1.0)
    assert BETTER in {one.get("instructions") for one in found["state"].values()}
    assert with_state(given, found).state
