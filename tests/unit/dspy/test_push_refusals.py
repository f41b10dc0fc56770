"""What an object has that no program says is refused: where it is, what it is, what to do."""

import datetime as dt
import enum
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Literal

import dspy
import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator

from anypod.dspy.push import CannotBeServed, definition


class Level(enum.Enum):
    LOW = "low"


class Told(BaseModel):
    at: dt.datetime = Field(default_factory=lambda: dt.datetime(2024, 1, 1))  # noqa: DTZ001
    any: Any = object()


class Checked(BaseModel):
    size: int

    @field_validator("size")
    @classmethod
    def even(cls, size: int) -> int:
        return size


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow", str_max_length=3)
    size: int


class Limited(BaseModel):
    size: int = Field(ge=0)
    called: str = Field(alias="name")


class Endless(BaseModel):
    inner: "Endless | None"


class Rooted(RootModel[list[int]]):
    pass


class Busy(BaseModel):
    a: int

    def model_post_init(self, context: Any) -> None:
        self.a += 1


class lower(BaseModel):  # noqa: N801
    a: int


def other_type(name: str) -> type[BaseModel]:
    return type(name, (BaseModel,), {"__annotations__": {"a": int}})


def with_type(type_: Any, side: Any = dspy.OutputField, **said: Any) -> Any:
    made = {"q": (str, dspy.InputField()), "a": (str, dspy.OutputField())}
    return dspy.Predict(dspy.make_signature({**made, "x": (type_, side(**said))}))


def refused(program: Any) -> list[str]:
    with pytest.raises(CannotBeServed) as caught:
        definition(program)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: with_type(Decimal), ["program.signature.x: the type Decimal", "there are str"]),
        (lambda: with_type(tuple[int, str]), ["program.signature.x: the type tuple"]),
        (lambda: with_type(list[set[int]]), ["program.signature.x: the type set"]),
        (lambda: with_type(Level), ["program.signature.x: the type Level", "write Literal['low']"]),
        (lambda: with_type(Literal[Level.LOW]), ["program.signature.x: a Literal has other"]),
        (lambda: with_type(dict[int, str]), ["program.signature.x: the keys of a dict are str"]),
        (lambda: with_type(dspy.Code, dspy.InputField), ["program.signature.x: the type Code"]),
        (lambda: with_type(dspy.Image), ["program.signature.outputs.1.type: Image is for inputs"]),
        (
            lambda: with_type(int, ge=3),
            ["program.signature.x: a type has no limits", "equal to: 3"],
        ),
        (
            lambda: with_type(Annotated[int, Field(ge=3)]),
            ["program.signature.x: a type has no limits", "Ge(ge=3)"],
        ),
        (
            lambda: with_type(list[Annotated[int, Field(ge=3)]]),
            ["program.signature.x: the type", "is none that a program has"],
        ),
        (lambda: with_type(int, default=3), ["program.signature.x: inputs and outputs have no"]),
        (lambda: with_type(Told), ["Told.at: what its default_factory makes"]),
        (lambda: with_type(Told), ["Told.any: a value that has no JSON form"]),
        (lambda: with_type(Checked), ["Checked.even: validators"]),
        (lambda: with_type(Loose), ["Loose.model_config: str_max_length"]),
        (lambda: with_type(Loose), ["Loose.model_config: extra='allow'"]),
        (lambda: with_type(Limited), ["Limited.size: a type has no limits"]),
        (lambda: with_type(Limited), ["Limited.called: alias"]),
        (lambda: with_type(Endless), ["program.types: Endless contains itself"]),
        (lambda: with_type(Rooted), ["program.signature.x: the type Rooted"]),
        (lambda: with_type(Busy), ["Busy: it has private attributes, or runs code"]),
        (lambda: with_type(lower), ["program.types.lower: a type's name begins with a capital"]),
        (
            lambda: with_type(dict[str, other_type("Told")] | Told),
            ["program.signature.x: two types are called Told; give one another name"],
        ),
        (lambda: dspy.Predict("config -> a"), ["program.signature.config: 'config' is a word"]),
    ],
)
def test_fields_and_types(make: Callable[[], Any], said: list[str]) -> None:
    assert any(all(one in line for one in said) for line in refused(make())), refused(make())


class Mine(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.part = dspy.Predict("q -> a")

    def forward(self, **inputs: Any) -> Any:
        return self.part(**inputs)


class MinePredict(dspy.Predict):  # type: ignore[misc]
    pass


def two_lms() -> Any:
    program = dspy.ReAct("q -> a", tools=[tool])
    program.react.lm = dspy.LM("openai/gpt-4o", api_key="k")
    return program


def two_temperatures() -> Any:
    program = dspy.ReAct("q -> a", tools=[tool])
    program.react.update_config(temperature=0.1)
    return program


def with_demo(value: Any) -> Any:
    program = dspy.Predict("q -> a")
    program.demos = [dspy.Example(q="q"), dspy.Example(q=value)]
    return program


def patched() -> Any:
    program = dspy.Predict("q -> a")
    program.forward = print
    return program


def replaced() -> Any:
    program = dspy.ReAct("q -> a", tools=[tool])
    program.extract = dspy.Predict("q, trajectory -> a")
    return program


def rationale_of_its_own() -> Any:
    field = dspy.OutputField(desc="in French")
    return dspy.ChainOfThought("q -> a", rationale_field=field)


def tool(x: int) -> int:
    """A tool."""
    return x


def score(args: Any, pred: Any) -> float:
    return 1.0


def wrap(**changed: Any) -> Any:
    given = {"N": 3, "reward_fn": score, "threshold": 1.0, "module": dspy.Predict("q -> a")}
    return dspy.BestOfN(**{**given, **changed})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Mine, ["program: Mine is a class of your own", "kind python", "push its parts"]),
        (lambda: MinePredict("q -> a"), ["program: MinePredict is a class of your own"]),
        (lambda: Mine, ["program: it is the class Mine; push an object"]),
        (lambda: 7, ["program: it is no dspy.Module but of the type int; there are: Predict, "]),
        (lambda: dspy.ReActV2("q -> a", tools=[tool]), ["program: ReActV2 has no program"]),
        (lambda: wrap(module=Mine()), ["program.module: Mine is a class of your own"]),
        (lambda: wrap(module=wrap()), ["program.module: BestOfN has no program"]),
        (lambda: wrap(fail_count=1), ["program.fail_count"]),
        (lambda: wrap(N=21), ["program.wrap.attempts", "less than or equal to 20"]),
        (lambda: wrap(threshold=None), ["program.threshold: there is none"]),
        (lambda: wrap(threshold=float("inf")), ["program.wrap.threshold", "finite"]),
        (lambda: wrap(reward_fn=lambda a, p: 1.0), ["program.reward_fn: it is a lambda"]),
        (lambda: dspy.ReAct("q -> a", tools=[]), ["program.tools: ReAct needs at least one tool"]),
        (
            lambda: dspy.ReAct("q -> a", tools=[tool], max_iters=51),
            ["program.module.maxIters", "less than or equal to 50"],
        ),
        (
            lambda: dspy.ReAct("q -> a", tools=[dspy.Tool(tool, name="search")]),
            ["program.tools['search']: its 'name' differs from what its function says"],
        ),
        (
            lambda: dspy.ReAct("q -> a", tools=[dspy.Tool(tool, desc="Finds.")]),
            ["program.tools['tool']: its 'desc' differs from what its function says"],
        ),
        (
            lambda: dspy.ReAct("q -> a", tools=[dspy.Tool(tool, arg_desc={"x": "a number"})]),
            ["program.tools['tool']: its 'args' differs from what its function says"],
        ),
        (two_lms, ["program: its predictors ask different LMs"]),
        (two_temperatures, ["program: its predictors have different parameters"]),
        (lambda: dspy.Predict("q -> a", n=3), ["program.config['n']: it has no place"]),
        (lambda: dspy.Predict("q -> a", temperature=3), ["program.lm.temperature"]),
        (
            lambda: dspy.Predict("q -> a", callbacks=[object()]),
            ["program.callbacks: callbacks stay here"],
        ),
        (replaced, ["program.extract.predict: it was put over the module's own"]),
        (patched, ["program.forward: it was put over the module's own"]),
        (rationale_of_its_own, ["program.predict: its fields are not those"]),
        (lambda: with_demo(object()), ["program.demos[1]['q']: a value that has no JSON form"]),
        (lambda: with_demo(float("nan")), ["program.demos[1]['q']: a value that has no JSON form"]),
        (lambda: with_demo("\ud800"), ["program.demos[1]['q']: a value that has no JSON form"]),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:dspy")
def test_modules_and_what_they_keep(make: Callable[[], Any], said: list[str]) -> None:
    assert any(all(one in line for one in said) for line in refused(make())), refused(make())


def test_all_that_is_wrong_is_told_at_once() -> None:
    made = {
        "q": (Decimal, dspy.InputField()),
        "a": (dt.timedelta, dspy.OutputField()),
        "t": (Told, dspy.OutputField()),
    }
    program = dspy.ReAct(dspy.make_signature(made), tools=[len, lambda: 1])
    places = [line.partition(":")[0] for line in refused(wrap(module=program, fail_count=1))]
    assert places == [
        "program.fail_count",
        "program.module.tools['len']",
        "program.module.tools['<lambda>']",
        "program.module.signature.q",
        "program.module.signature.a",
        "Told.at",
        "Told.any",
    ]


def test_an_adapter_that_no_program_has_is_refused() -> None:
    class Mine(dspy.ChatAdapter):  # type: ignore[misc]
        pass

    with dspy.context(adapter=Mine()):
        (line,) = refused(dspy.Predict("q -> a"))
    assert line.startswith("dspy.settings.adapter: Mine is no adapter of a program's; there are: ")
