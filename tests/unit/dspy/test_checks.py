"""What is wrong with a program of kind dspy is said with the path of the field; what is right has
one canonical form."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from anypod.api.dspy_checks import Refused, spec_of
from anypod.api.dspy_programs import CreateDspyProgram
from anypod.api.dspy_tasks import EvaluateProgram
from anypod.dspy import spec

ADD = "def add(a: int, b: int) -> int:\n    return a + b\n"


def given(**fields: Any) -> CreateDspyProgram:
    document = {"kind": "dspy", "signature": "question -> answer", **fields}
    return CreateDspyProgram.model_validate(document)


def canonical(**fields: Any) -> str:
    return spec.encode(spec_of(given(**fields)))


def test_the_canonical_form_reads_as_it_was_written() -> None:
    document = spec_of(
        given(
            signature="question, rows: list[Item] -> answer, level: Literal['low', 'high']",
            types={
                "Item": {
                    "description": "what there is",
                    "fields": [
                        {"name": "name"},
                        {"name": "size", "type": "Size | None", "default": None},
                    ],
                },
                "Size": {"fields": [{"name": "cm", "type": "int"}]},
            },
            module={"name": "ReAct", "maxIters": 3},
            tools=[{"name": "add", "source": ADD}],
            lm={"name": "fast", "temperature": 0.5},
            state={"extract.predict": {"demos": [{"question": "q", "reasoning": "r"}]}},
        )
    )
    assert spec.decode(spec.encode(document)) == document


def test_it_can_be_given_again() -> None:
    first = canonical(
        types={"Item": {"fields": [{"name": "items", "type": "int", "description": "how many"}]}},
        signature={
            "inputs": [{"name": "text", "description": "what is said"}],
            "outputs": [{"name": "found", "type": "list[Item]"}],
            "instructions": "Find all items.",
        },
        wrap={"name": "BestOfN", "threshold": 1.0, "reward": "def reward(i, o): return 1.0\n"},
        lm="fast",
        historyTurns=3,
    )
    assert canonical(**json.loads(first)) == first


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"signature": "question->answer:str"}, {"signature": "question: str -> answer"}),
        ({"module": "Predict"}, {}),
        ({"module": {"name": "ChainOfThought"}}, {"module": "ChainOfThought"}),
        ({"lm": "fast"}, {"lm": {"name": "fast"}}),
        ({"lm": {}}, {}),
        ({"state": {}, "tools": [], "adapter": "chat"}, {}),
        (
            {"signature": {"inputs": [{"name": "question"}], "outputs": [{"name": "answer"}]}},
            {"signature": "question -> answer"},
        ),
    ],
)
def test_the_same_program_has_one_form(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert canonical(**one) == canonical(**other)


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"signature": "q: os.system -> a"}, "signature.inputs.0.type", "nothing is imported"),
        (
            {"signature": {"inputs": [{"name": "q", "type": "Foo"}], "outputs": [{"name": "a"}]}},
            "signature.inputs.0.type",
            "there are str",
        ),
        (
            {"signature": {"inputs": [{"name": "demos"}], "outputs": [{"name": "a"}]}},
            "signature.inputs.0.name",
            "uses itself",
        ),
        (
            {"signature": {"inputs": [{"name": "q"}], "outputs": [{"name": "q"}]}},
            "signature",
            "stands twice",
        ),
        (
            {
                "signature": {
                    "inputs": [{"name": "q"}],
                    "outputs": [{"name": "a"}],
                    "instructions": "y",
                },
                "instructions": "x",
            },
            "instructions",
            "give one",
        ),
        ({"types": {"item": {"fields": [{"name": "a"}]}}}, "types.item", "begins with a capital"),
        ({"types": {"Image": {"fields": [{"name": "a"}]}}}, "types.Image", "none of those"),
        (
            {"types": {"A": {"fields": [{"name": "b", "type": "B"}]}}},
            "types.A.fields.0.type",
            "no type 'B'",
        ),
        (
            {
                "types": {
                    "A": {"fields": [{"name": "b", "type": "list[B]"}]},
                    "B": {"fields": [{"name": "a", "type": "A | None"}]},
                }
            },
            "types",
            "A, B contain each other",
        ),
        (
            {"types": {"A": {"fields": [{"name": "b", "type": "Image"}]}}},
            "types.A.fields.0.type",
            "for inputs only",
        ),
        ({"types": {"A": {"fields": [{"name": "copy"}]}}}, "types.A.fields.0.name", "uses itself"),
        (
            {"types": {"T": {"fields": [{"name": "t", "type": "list[T]"}]}}},
            "types",
            "T contains itself",
        ),
        ({"signature": "q -> a: Image"}, "signature.outputs.0.type", "for inputs only"),
        ({"signature": "h: History -> a"}, "signature.inputs", "there must be an input"),
        (
            {"module": "MultiChainComparison", "signature": "q, rationale -> a"},
            "signature.inputs.1.name",
            "a field 'rationale' of its own",
        ),
        (
            {
                "module": {"name": "MultiChainComparison", "candidates": 2},
                "state": {"compare": {"demos": [{"reasoning_attempt_3": "r"}]}},
            },
            "state.compare.demos.0.reasoning_attempt_3",
            "reasoning_attempt_2",
        ),
        ({"signature": "q, h: History, i: History -> a"}, "signature.inputs", "one History"),
        ({"signature": "q, h: History | None -> a"}, "signature.inputs", "stands alone"),
        ({"module": "ReAct"}, "tools", "at least one tool"),
        ({"tools": [{"name": "add", "source": ADD}]}, "tools", "no other module takes any"),
        ({"module": {"name": "Predict", "maxIters": 3}}, "module.maxIters", "only ReAct"),
        ({"module": {"name": "ReAct", "candidates": 3}}, "module.candidates", "only Multi"),
        ({"state": {"predict": {}}}, "state.predict", "it has: self"),
        (
            {"state": {"self": {"demos": [{"question": "q"}, {"api_base": "x"}]}}},
            "state.self.demos.1.api_base",
            "there are: answer, augmented, question",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_path(
    fields: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(Refused, match=message) as caught:
        spec_of(given(**fields))
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("source", "message", "line"),
    [
        ("def add(a:\n", "line 1: ", 1),
        ("x = 1\n", "it defines: none", None),
        ("def plus(): ...\n", "it defines: plus", None),
        (ADD + "def more(): ...\n", "it defines: add, more", None),
        ("while True: pass\n" + ADD, "line 1: beside the function", 1),
        ("class A: ...\n" + ADD, "line 1: beside the function", 1),
        (ADD + "\0", "not Python", None),
        ("(" * 5000, "line 1: |not Python", None),
        ("def add(a):\n    yield a\n", "line 2: add must return its value", 2),
        ("async def add(a):\n    if a:\n        yield a\n", "line 3: add must return", 3),
        ("def add(a):\n    b = [(yield from a)]\n", "line 2: add must return", 2),
        ("def add(*numbers): ...\n", "line 1: .* by their names: numbers would", 1),
        ("def add(a,\n        b, /, c): ...\n", "line 1: .* by their names: a would", 1),
    ],
)
def test_a_tool_is_one_function_of_its_name(source: str, message: str, line: int | None) -> None:
    with pytest.raises(Refused, match=message) as caught:
        spec_of(given(module="ReAct", tools=[{"name": "add", "source": source}]))
    assert caught.value.path == "tools.0.source"
    assert line is None or caught.value.line == line


@pytest.mark.parametrize(
    "source",
    [
        "def add(a):\n    def each():\n        yield a\n    return sum(each())\n",
        "def add(a):\n    return list((lambda: (yield a))())\n",
        "async def add(a, *, b=1, **more):\n    return a\n",
        "import tools\n@tools.listed\ndef add(*a):\n    yield a\n",
    ],
)
def test_a_tool_may_have_what_is_its_own_affair(source: str) -> None:
    assert spec_of(given(module="ReAct", tools=[{"name": "add", "source": source}])).tools


def test_nobody_reads_what_a_reward_or_a_metric_yields() -> None:
    reward = "def reward(*both):\n    yield 1\n"
    with pytest.raises(Refused, match="line 2: reward must return") as caught:
        spec_of(given(wrap={"name": "BestOfN", "threshold": 1, "reward": reward}))
    assert (caught.value.path, caught.value.line) == ("wrap.reward", 2)
    metric = {"source": "async def metric(example, prediction):\n    yield 1\n"}
    task = EvaluateProgram.model_validate({"dataset": [{"inputs": {}}], "metric": metric})
    with pytest.raises(Refused, match="line 2: metric must return"):
        task.task(spec_of(given()))


@pytest.mark.parametrize("takes", ["", "i", "i, o, more", "i, *, o", "i, o, *, more"])
def test_a_reward_and_a_metric_take_two_arguments(takes: str) -> None:
    reward = f"LEAST = 1\ndef reward({takes}): return LEAST\n"
    with pytest.raises(Refused, match="line 2: reward must take 2 arguments") as caught:
        spec_of(given(wrap={"name": "BestOfN", "threshold": 1, "reward": reward}))
    assert (caught.value.path, caught.value.line) == ("wrap.reward", 2)
    metric = {"source": f"def metric({takes}): return 1\n"}
    task = EvaluateProgram.model_validate({"dataset": [{"inputs": {}}], "metric": metric})
    with pytest.raises(Refused, match="metric must take 2 arguments"):
        task.task(spec_of(given()))


@pytest.mark.parametrize(
    "takes", ["i, o", "i, o=None", "i, o, trace=None", "*both", "i, *rest", "i, /, o, *, more=1"]
)
def test_other_arguments_of_a_reward_may_be_left_out(takes: str) -> None:
    reward = f"async def reward({takes}): return 1\n"
    assert spec_of(given(wrap={"name": "BestOfN", "threshold": 1, "reward": reward})).wrap


@pytest.mark.parametrize("name", ["finish", "1st", "a b"])
def test_a_tool_has_a_name_of_its_own(name: str) -> None:
    tool = {"name": name, "source": f"def {name}(): ...\n"}
    with pytest.raises(Refused, match="not 'finish'"):
        spec_of(given(module="ReAct", tools=[tool]))
    twice = [{"name": "add", "source": ADD}] * 2
    with pytest.raises(Refused, match="stands twice"):
        spec_of(given(module="ReAct", tools=twice))


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"signature": "question, lm -> answer"}, "signature"),
        ({"signature": "question"}, "signature"),
        ({"signature": {"inputs": [], "outputs": [{"name": "a"}]}}, "signature.inputs"),
        ({"module": "Agent"}, "module.name"),
        ({"module": {"name": "ReAct", "maxIters": 99}}, "module.maxIters"),
        ({"lm": "Not A Name"}, "lm.name"),
        ({"lm": {"apiBase": "http://evil"}}, "lm.apiBase"),
        ({"lm": 5}, "lm"),
    ],
)
def test_what_has_not_the_shape_is_told_by_its_place(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(ValidationError) as caught:
        given(**fields)
    assert ".".join(map(str, caught.value.errors()[0]["loc"])) == path


@pytest.mark.parametrize(
    "fields",
    [
        {"state": {"self": {"lm": {"api_base": "http://evil"}}}},
        {"state": {"self": {"config": {"api_base": "http://evil"}}}},
        {"lm": {"name": "fast", "apiBase": "http://evil"}},
        {"lm": {"apiKey": "k"}},
        {"lm": {"temperature": 3}},
        {"lm": {"maxTokens": 0}},
        {"lm": "Not A Name"},
        {"module": "ProgramOfThought"},
        {"module": {"name": "ReAct", "maxIters": 1000}},
        {"adapter": "two-step"},
        {"wrap": {"name": "BestOfN", "threshold": 1, "reward": "x", "attempts": 100}},
        {"source": "def main(): ..."},
        {"pickle": "x"},
    ],
)
def test_what_is_not_on_the_list_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        given(**fields)


def test_a_state_that_is_nested_without_end_has_no_form() -> None:
    nested: Any = 1
    for _ in range(5000):
        nested = [nested]
    document = spec_of(given(state={"self": {"demos": [{"question": nested}]}}))
    with pytest.raises(RecursionError):
        spec.encode(document)


TOOLS: dict[str, Any] = {"module": "ReAct", "tools": [{"name": "add", "source": ADD}]}
REWARD = "def reward(inputs, outputs):\n    return 1\n"
WRAP: dict[str, Any] = {"wrap": {"name": "BestOfN", "threshold": 1, "reward": REWARD}}


@pytest.mark.parametrize(
    ("fields", "at_once"),
    [
        ({}, 50),
        (TOOLS, 1),
        (WRAP, 1),
        ({**TOOLS, "concurrency": 7}, 7),
        ({**WRAP, "concurrency": 7}, 7),
        ({"concurrency": 1}, 1),
    ],
)
def test_code_of_tools_and_rewards_may_block_unless_it_is_said_that_it_does_not(
    fields: dict[str, Any], at_once: int
) -> None:
    assert given(**fields).most_at_once() == at_once
