"""What is pushed is what is served: a worker's module asks an LM what the object would ask."""

import datetime as dt
import json
import math
import string
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Optional

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from tests.support.served import module_of, plan_of

from anypod.dspy import signatures
from anypod.dspy.push import definition

FEW = 3


class Part(BaseModel):
    """What a thing is made of.

    It may be small.
    """

    name: str
    names: list[str] = Field(default_factory=list)
    size: int | None = Field(None, description="in cm")


class Thing(BaseModel):
    made: dt.date
    parts: list[Part]


class Sorting(dspy.Signature):
    """Sort things.

    Be quick.
    """

    text: str = dspy.InputField(desc="as it came")
    kind: Literal["old", "new"] = dspy.InputField()
    things: list[Thing] = dspy.OutputField(desc="all of them")
    found: dict[str, float] = dspy.OutputField()


def add(first: int, second: int = FEW) -> int:
    """The sum."""
    return first + second


async def root(value: float) -> float:
    """The square root."""
    return math.sqrt(value)


def short(args: dict[str, Any], pred: dspy.Prediction) -> float:
    """Few
    words."""
    return float(len(pred.answer.split()) <= FEW and "question" in args)


def optimised(program: Any, **instructions: str) -> Any:
    for name, predictor in program.named_predictors():
        fields = [*predictor.signature.fields]
        predictor.demos = [dspy.Example(**{one: f"a {one}" for one in fields}, augmented=True)]
        said = instructions.get(name.replace(".", "_"))
        if said is not None:
            predictor.signature = predictor.signature.with_instructions(said)
    return program


PROGRAMS = {
    "Predict": lambda: dspy.Predict("question -> answer"),
    "a type for each": lambda: dspy.Predict(
        dspy.Signature("a: str, b: int, c: float, d: bool, e: list[str] -> f: Optional[int]")
    ),
    "dates": lambda: dspy.Predict(
        dspy.make_signature(
            {
                "day": (dt.date, dspy.InputField()),
                "at": (dt.datetime | None, dspy.InputField()),
                "more": (Any, dspy.OutputField()),
                "either": (Optional[int], dspy.OutputField()),  # noqa: UP045
                "table": (dict[str, list[int]], dspy.OutputField()),
            }
        )
    ),
    "history": lambda: dspy.Predict("question, history: dspy.History -> answer"),
    "an image": lambda: dspy.Predict("image: dspy.Image, other: list[dspy.Image] -> answer"),
    "own types": lambda: dspy.Predict(Sorting),
    "ChainOfThought": lambda: dspy.ChainOfThought(Sorting),
    "ChainOfThought, plain": lambda: dspy.ChainOfThought("question -> answer: int"),
    "ReAct": lambda: dspy.ReAct("question -> answer: int", tools=[add, root], max_iters=4),
    "ReAct, as it comes": lambda: dspy.ReAct(Sorting, tools=[add]),
    "optimised": lambda: optimised(dspy.ChainOfThought("question -> answer"), predict="Be good."),
    "an optimised agent": lambda: optimised(
        dspy.ReAct(Sorting, tools=[add]), extract_predict="Be good."
    ),
    "no instructions at all": lambda: optimised(dspy.Predict("question -> answer"), self=""),
}


def asked(module: Any, name: str) -> list[Any]:
    """What a predictor says of its signature, without the classes of own types."""
    signature = dict(module.named_predictors())[name].signature
    return [
        signature.instructions,
        *(
            (side, field, info.json_schema_extra["desc"])
            for side in ("input_fields", "output_fields")
            for field, info in getattr(signature, side).items()
        ),
    ]


def prompt(module: Any, name: str) -> Any:
    predictor = dict(module.named_predictors())[name]
    inputs = dict.fromkeys(predictor.signature.input_fields, "x")
    inputs.pop("history", None)
    return dspy.ChatAdapter().format(predictor.signature, demos=predictor.demos, inputs=inputs)


def _loosely(prompt: Any) -> Any:
    """Of own types, a program tells also that they have no other fields, and every default."""
    text = json.dumps(prompt)
    for more in ('"additionalProperties": false, ', '"default": [], '):
        text = text.replace(json.dumps(more)[1:-1], "")
    return json.loads(text)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_worker_asks_what_the_object_would(name: str, tmp_path: Path) -> None:
    program = PROGRAMS[name]()
    served = module_of(definition(program), tmp_path)
    predictors = [one for one, _ in program.named_predictors()]
    assert [one for one, _ in served.named_predictors()] == predictors
    for one in predictors:
        assert asked(served, one) == asked(program, one)
        assert _loosely(prompt(served, one)) == prompt(program, one)
    assert getattr(served, "max_iters", None) == getattr(program, "max_iters", None)


def test_own_types_keep_their_fields() -> None:
    document = definition(dspy.Predict(Sorting))
    assert document["types"] == {
        "Part": {
            "description": "What a thing is made of.\n\nIt may be small.",
            "fields": [
                {"name": "name"},
                {"name": "names", "type": "list[str]", "default": []},
                {"name": "size", "type": "int | None", "description": "in cm", "default": None},
            ],
        },
        "Thing": {
            "fields": [{"name": "made", "type": "date"}, {"name": "parts", "type": "list[Part]"}]
        },
    }


@pytest.mark.filterwarnings("ignore:The 'prefix' argument:DeprecationWarning")  # of DSPy's own
def test_a_comparison_makes_its_candidates_itself(tmp_path: Path) -> None:
    program = dspy.MultiChainComparison("question -> answer", M=4)
    attempts = {f"reasoning_attempt_{number}": "It is a." for number in range(1, 5)}
    program.predict.demos = [dspy.Example(question="q", answer="a", rationale="r", **attempts)]
    served = module_of(definition(program), tmp_path)
    assert prompt(served, "compare") == prompt(program, "predict")
    assert served.compare.config == program.predict.config


@pytest.mark.parametrize("wrap", [dspy.BestOfN, dspy.Refine])
def test_a_reward_is_given_what_dspy_gives_it(wrap: Any, tmp_path: Path) -> None:
    inner = dspy.ChainOfThought("question -> answer")
    program = wrap(inner, N=5, reward_fn=short, threshold=0.5)
    plan = plan_of(definition(program), tmp_path)
    made = plan.parts.spec.wrap
    assert made is not None
    assert (made.name, made.attempts, made.threshold) == (wrap.__name__, 5, 0.5)
    assert plan.reward is not None
    assert plan.reward({"question": "q"}, {"answer": "one two"}) == 1.0
    assert plan.reward({"question": "q"}, {"answer": "one two three four"}) == 0.0
    assert plan.reward({}, {"answer": "one"}) == 0.0
    assert '    """Few\n    words."""' in made.reward  # its docstring is what it was


def test_copies_of_one_lm_are_one() -> None:
    program = dspy.ReAct("question -> answer", tools=[add])
    program.react.lm = dspy.LM("openai/gpt-4o", api_key="sk-none")
    program.extract.predict.lm = program.react.lm.copy()
    assert "lm" not in definition(program)


def test_what_was_said_of_the_lm_goes_along_without_it() -> None:
    program = dspy.ChainOfThought("question -> answer", temperature=0.25, max_tokens=300)
    program.set_lm(dspy.LM("openai/gpt-4o", api_key="sk-none-of-theirs", api_base="http://a"))
    document = definition(program, lm="fast")
    assert document["lm"] == {"name": "fast", "temperature": 0.25, "maxTokens": 300}
    for hidden in ("sk-", "http", "gpt"):
        assert hidden not in str(document)


@pytest.mark.parametrize(
    ("adapter", "name"), [(dspy.ChatAdapter, None), (dspy.JSONAdapter, "json")]
)
def test_the_adapter_that_is_configured_is_the_programs(adapter: Any, name: str | None) -> None:
    with dspy.context(adapter=adapter()):
        assert definition(dspy.Predict("a -> b")).get("adapter") == name


def test_of_a_demo_goes_along_what_its_predictor_shows(tmp_path: Path) -> None:
    program = dspy.Predict(Sorting)
    thing = Thing(made=dt.date(2024, 2, 29), parts=[Part(name="leg")])
    program.demos = [dspy.Example(text="t", things=[thing], label=object(), augmented=True)]
    document = definition(program)
    demo = {
        "text": "t",
        "things": [{"parts": [{"name": "leg", "names": [], "size": None}], "made": "2024-02-29"}],
        "augmented": True,
    }
    assert document["state"] == {"self": {"demos": [demo]}}
    ours, theirs = (prompt(one, "self")[1:] for one in (module_of(document, tmp_path), program))
    assert ours == theirs


def test_what_is_saved_and_loaded_is_pushed(tmp_path: Path) -> None:
    first = optimised(dspy.ChainOfThought("question -> answer"), predict="Be good.")
    first.save(tmp_path / "state.json")
    second = dspy.ChainOfThought("question -> answer")
    second.load(tmp_path / "state.json")
    assert definition(second) == definition(first)


NAMES = st.text(string.ascii_lowercase + "_", min_size=1, max_size=8).filter(
    lambda name: _is_name(name)
)
WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30)
LEAVES = st.sampled_from([str, int, float, bool, dt.date, dt.datetime, Any, Literal["a'b", 1]])
TYPES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(lambda one: list[one]),
        inner.map(lambda one: dict[str, one]),
        inner.map(lambda one: Optional[one]),  # noqa: UP045
    ),
    max_leaves=3,
)


def _is_name(name: str) -> bool:
    try:
        signatures.check_name(name)
    except signatures.InvalidSignature:
        return False
    return name != "rationale"


SAID = st.just({}) | WORDS.map(lambda text: {"desc": text})


@st.composite
def fields(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(NAMES, min_size=2, max_size=5, unique=True))
    inputs = draw(st.integers(1, len(names) - 1))
    return {
        name: (
            draw(TYPES),
            (dspy.InputField if number < inputs else dspy.OutputField)(**draw(SAID)),
        )
        for number, name in enumerate(names)
    }


@given(
    fields(),
    st.sampled_from([dspy.Predict, dspy.ChainOfThought]),
    st.none() | WORDS,
    st.none() | WORDS,
    st.lists(st.dictionaries(st.integers(0, 4), WORDS)),
)
@settings(max_examples=60)
def test_any_signature_goes_there_and_back(
    made: dict[str, Any],
    module: Any,
    instructions: str | None,
    found: str | None,
    demos: list[dict[int, str]],
) -> None:
    program = module(dspy.make_signature(made, instructions))
    ((name, predictor),) = program.named_predictors()
    predictor.demos = [
        {one: demo[number] for number, one in enumerate(made) if number in demo} for demo in demos
    ]
    if found is not None:
        predictor.signature = predictor.signature.with_instructions(found)
    with TemporaryDirectory() as folder:
        served = module_of(definition(program), Path(folder))
    assert prompt(served, name) == prompt(program, name)
