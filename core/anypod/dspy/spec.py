"""The canonical form of a program of kind ``dspy``: one JSON document, the only file of a revision.

The gateway writes it from what a client gave, once that was checked; executors read it. What has a
default is left out, so that adding it later makes no new revision of the same program.
"""

import json
from typing import Any, Final, Literal

import msgspec

FILE: Final = "program.json"

ModuleName = Literal["Predict", "ChainOfThought", "ReAct", "MultiChainComparison"]
WrapName = Literal["BestOfN", "Refine"]
AdapterName = Literal["chat", "json", "xml"]

PREDICTORS: Final[dict[str, tuple[str, ...]]] = {
    "Predict": ("self",),
    "ChainOfThought": ("predict",),
    "ReAct": ("react", "extract.predict"),
    "MultiChainComparison": ("candidates.predict", "compare"),
}
"""The predictors of each module, by the names that a state calls them by."""

INTERNAL_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "self": (),
    "predict": ("reasoning",),
    "react": ("trajectory", "next_thought", "next_tool_name", "next_tool_args"),
    "extract.predict": ("reasoning", "trajectory"),
    "candidates.predict": ("reasoning",),
    "compare": ("rationale",),
}
"""Fields that a predictor has beside the signature's own; for all of them: ``fields_beside``."""


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    type: str = "str"
    """In the form that ``types.render`` gives."""
    description: str = ""


class TypeField(Field, frozen=True, omit_defaults=True):
    default: Any = msgspec.UNSET
    """As JSON has it. A field that has one may be missing."""


class OwnType(msgspec.Struct, frozen=True, omit_defaults=True):
    """An object that the program defines."""

    fields: list[TypeField]
    description: str = ""


class Signature(msgspec.Struct, frozen=True, omit_defaults=True):
    inputs: list[Field]
    outputs: list[Field]
    instructions: str = ""


class Module(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    name: ModuleName
    max_iters: int = 10
    """Of ReAct: calls of tools."""
    candidates: int = 3
    """Of MultiChainComparison: answers that are compared."""


def fields_beside(predictor: str, module: Module) -> tuple[str, ...]:
    """Those of ``INTERNAL_FIELDS``, and of a comparison the attempts that it is shown."""
    numbers = range(1, module.candidates + 1) if predictor == "compare" else ()
    return (*INTERNAL_FIELDS[predictor], *(f"reasoning_attempt_{number}" for number in numbers))


class Tool(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    source: str


class Wrap(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    name: WrapName
    reward: str
    """Source of one function of (inputs, outputs) that returns a number."""
    threshold: float
    attempts: int = 3


MAX_TOKENS: Final = "lm.maxTokens"
"""Where it stands, for whom it is refused to."""


class LmChoice(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """Which of the pool's LMs, and what is said differently to it."""

    name: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None

    def under(self, later: "LmChoice | None") -> "LmChoice":
        """What ``later`` says goes over this."""
        if later is None:
            return self
        said = {n: v for n, v in msgspec.structs.asdict(later).items() if v is not None}
        return msgspec.structs.replace(self, **said)

    def too_long(self, lm: str, most: int | None) -> str:
        """Why the pool's LM of that name, of whose answers it allows ``most`` tokens, is not asked
        for so many; empty if it is."""
        if most is None or (self.max_tokens or 0) <= most:
            return ""
        return f"{MAX_TOKENS}: {self.max_tokens} are too many, the pool allows its LM {lm!r} {most}"


class PredictorState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an optimiser has found for one predictor."""

    instructions: str | None = None
    demos: list[dict[str, Any]] = []


class Spec(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    signature: Signature
    module: Module
    types: dict[str, OwnType] = {}
    tools: list[Tool] = []
    wrap: Wrap | None = None
    adapter: AdapterName = "chat"
    lm: LmChoice | None = None
    history_turns: int = 20
    """Of a conversation, that are kept and shown to the LM."""
    state: dict[str, PredictorState] = {}


_decode = msgspec.json.Decoder(Spec).decode


def encode(spec: Spec) -> str:
    """The canonical text."""
    return json.dumps(
        msgspec.to_builtins(spec), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )


def decode(text: str) -> Spec:
    """Raises msgspec.DecodeError."""
    return _decode(text)
