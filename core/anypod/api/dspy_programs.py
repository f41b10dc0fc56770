"""Programs of kind ``dspy`` as clients send them: a signature, a module, what goes with them.

The models say the shape; what the parts must fulfil together is in ``dspy_checks``.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from anypod.api.documents import RequestModel
from anypod.api.ids import ProgramId
from anypod.api.programs import Concurrency, Labels, Text, TimeoutSeconds
from anypod.dspy import signatures, types
from anypod.dspy.spec import AdapterName, ModuleName, WrapName

MAX_SOURCE = 64 * 1024
_WAITING_AT_ONCE = 50

Name = Annotated[Text, StringConstraints(max_length=100)]
TypeText = Annotated[Text, StringConstraints(min_length=1, max_length=types.MAX_TEXT)]
Words = Annotated[Text, StringConstraints(max_length=20_000)]
Source = Annotated[Text, StringConstraints(min_length=1, max_length=MAX_SOURCE)]
LmName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=63)
]


class DspyField(RequestModel):
    """One input or output."""

    name: Name
    type: TypeText = Field(
        "str", description="Such as `list[str]`, `Literal['a', 'b']`, `Item | None`."
    )
    description: Words = Field("", description="Told to the LM.")


Fields = Annotated[list[DspyField], Field(min_length=1, max_length=signatures.MAX_FIELDS)]


class DspySignature(RequestModel):
    """What a program takes and gives, field by field."""

    inputs: Fields
    outputs: Fields
    instructions: Words = Field("", description="Told to the LM; DSPy writes some when empty.")


class DspyTypeField(DspyField):
    """One field of an own type."""

    default: Any = Field(None, description="Of a field that may be missing; without one, none may.")


class DspyType(RequestModel):
    """An object with fields, by whose name fields can have it as their type."""

    fields: Annotated[list[DspyTypeField], Field(min_length=1, max_length=signatures.MAX_FIELDS)]
    description: Words = Field("", description="Told to the LM.")


class DspyModule(RequestModel):
    """A module with its arguments."""

    name: ModuleName
    max_iters: int | None = Field(None, ge=1, le=50, description="Of ReAct: calls of tools. 10.")
    candidates: int | None = Field(
        None, ge=2, le=10, description="Of MultiChainComparison: answers that are compared. 3."
    )


class DspyTool(RequestModel):
    """A function that an agent may call."""

    name: Name
    source: Source = Field(description="One function of that name, with what it imports.")


class DspyWrap(RequestModel):
    """Run the module more than once, and take the best by a reward."""

    name: WrapName
    attempts: int = Field(3, ge=1, le=20, description="At most so many.")
    threshold: float = Field(allow_inf_nan=False, description="A reward that is good enough.")
    reward: Source = Field(
        description="One function `reward(inputs, outputs)` of two dicts that returns a number."
    )


class LmParameters(RequestModel):
    """Which of the pool's LMs, and what is said differently to it."""

    name: LmName | None = Field(None, description="One that the pool declares; else its default.")
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)


def _read_signature(given: Any) -> Any:
    if not isinstance(given, str):
        return _whole(given, "a string such as 'question -> answer'")
    sides = zip(("inputs", "outputs"), signatures.parse(given), strict=True)
    return {
        side: [{"name": name, "type": type_} for name, type_ in fields] for side, fields in sides
    }


def by_name(given: Any) -> Any:
    """A name stands for the whole of which nothing else is said."""
    return {"name": given} if isinstance(given, str) else _whole(given, "a name")


def _whole(given: Any, short: str) -> Any:
    if isinstance(given, dict | RequestModel):
        return given
    raise ValueError(f"Input should be {short}, or an object")


SignatureText = Annotated[str, StringConstraints(max_length=signatures.MAX_TEXT)]
SignatureGiven = Annotated[
    DspySignature,
    BeforeValidator(_read_signature, json_schema_input_type=SignatureText | DspySignature),
]
ModuleGiven = Annotated[
    DspyModule, BeforeValidator(by_name, json_schema_input_type=ModuleName | DspyModule)
]
LmGiven = Annotated[
    LmParameters, BeforeValidator(by_name, json_schema_input_type=LmName | LmParameters)
]


class DspyPredictorState(RequestModel):
    """What an optimiser has found for one predictor."""

    instructions: Words | None = Field(None, description="In place of the signature's.")
    demos: list[dict[str, Any]] = Field([], max_length=64, description="Examples: field to value.")


class DspyCode(RequestModel):
    """A program that asks an LM: the part of it that its revision names."""

    kind: Literal["dspy"]
    signature: SignatureGiven = Field(
        description="`question, context: list[str] -> answer`, or field by field."
    )
    instructions: Words | None = Field(None, description="Of a signature that is a string.")
    types: dict[Name, DspyType] = Field({}, max_length=50, description="Own types by their names.")
    module: ModuleGiven = DspyModule(name="Predict")
    tools: list[DspyTool] = Field([], max_length=32, description="Of ReAct.")
    wrap: DspyWrap | None = None
    adapter: AdapterName = Field("chat", description="How fields become a prompt, and back.")
    lm: LmGiven | None = Field(None, description="Else the pool's default.")
    history_turns: int = Field(
        20, ge=0, le=200, description="In a session: of the conversation, kept and shown to the LM."
    )
    state: dict[Name, DspyPredictorState] = Field(
        {}, max_length=10, description="Demos and instructions by predictor."
    )
    timeout_seconds: TimeoutSeconds | None = Field(
        None, description="Of an execution that does not say another; else the pool's."
    )
    idempotent: bool = Field(
        False, description="Running it twice does no harm: it is run again if a worker is lost."
    )
    concurrency: Concurrency | None = Field(
        None,
        description="Executions that may run in one executor at once. By default 1 if it has "
        "tools or a reward, whose code may block, else as many as the pool allows, up to 50.",
    )

    def most_at_once(self) -> int:
        """Executions that may share an executor, as far as the pool allows."""
        if self.concurrency is not None:
            return self.concurrency
        return 1 if self.tools or self.wrap else _WAITING_AT_ONCE


class PutDspyProgram(DspyCode):
    """A new revision of a program of kind dspy, or a new program under the id of the path."""

    labels: Labels | None = Field(None, description="Replace the program's labels when given.")


class CreateDspyProgram(PutDspyProgram):
    """A new program of kind dspy."""

    id: ProgramId | None = Field(None, description="Made up when absent.")
