"""The language models that a pool declares, and where their keys come from.

Programs name an LM; only the pool says which model that is, where it is, and with which key.
"""

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from anypod.resources.fields import KeyName, Model, ObjectName, Rule, VariableName
from anypod.resources.surroundings import RESERVED_PREFIXES
from anypod.wire import config

LmName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=63)
]


class SecretKey(Model):
    """One key of a Secret in the pool's namespace."""

    name: ObjectName
    """Of the Secret."""
    key: KeyName
    """Whose value is taken."""


class ApiKey(Model):
    """Where the key is. No program finds it in its environment."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.secretKeyRef) || has(self.env)",
            lambda key: key.secret_key_ref is not None or key.env is not None,
            "must have secretKeyRef or env",
        ),
        Rule(
            "!has(self.env) || (!self.env.startsWith('ANYPOD_WORKER_') && "
            "!self.env.startsWith('ANYPOD_LINK_'))",
            lambda key: key.env is None or not key.env.startswith(RESERVED_PREFIXES),
            "env must not begin with ANYPOD_WORKER_ or ANYPOD_LINK_, which AnyPod uses itself",
        ),
    )

    secret_key_ref: SecretKey | None = None
    """A key of a Secret. In local mode, which has no Secrets, env is taken."""
    env: VariableName | None = None
    """The variable that holds it: of the worker's container, where programs then do not have it;
    in local mode of `anypod up`. Default there: the LM's name in capitals with _API_KEY."""


class Lm(Model):
    """A language model that programs of kind dspy can ask."""

    name: LmName
    """By which programs, sessions and runs choose it."""
    model: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^\S+$")]
    """As DSPy names it: provider/model, such as openai/gpt-4o-mini; hosted_vllm/… for a server of
    your own that speaks as OpenAI does."""
    api_base: Annotated[
        str, StringConstraints(max_length=1000, pattern=r"^(https?://[^\s@]+)?$")
    ] = ""
    """Where it is; empty: where the provider is."""
    api_key: ApiKey | None = None
    """Its key; none for a server that asks for none."""
    temperature: float | None = Field(None, ge=0, le=2)
    """Unless a program, a session or a run says another."""
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    """Of one answer: a program, a session or a run may say fewer, and none more."""
    timeout_seconds: float = Field(60, gt=0, le=3600)
    """Silence of the provider after which an attempt has failed."""
    retries: int = Field(2, ge=0, le=10)
    """Attempts after one that failed for a while, within the execution's deadline."""
    input_price: float | None = Field(None, ge=0, le=100_000)
    """Dollars per million tokens of prompts, for the cost of runs."""
    output_price: float | None = Field(None, ge=0, le=100_000)
    """Dollars per million tokens of answers."""

    @property
    def key_variable(self) -> str:
        """In local mode."""
        given = self.api_key.env if self.api_key is not None else None
        return given or f"{self.name.upper().replace('-', '_').replace('.', '_')}_API_KEY"

    def for_worker(self) -> config.Lm:
        """Without its key, and without a word of where that is."""
        return config.Lm(
            name=self.name,
            model=self.model,
            api_base=self.api_base,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            timeout_seconds=self.timeout_seconds,
            retries=self.retries,
            input_price=self.input_price,
            output_price=self.output_price,
        )


def ordered(lms: list[Lm], default: str) -> list[Lm]:
    """First the one that is asked where none is named."""
    return sorted(lms, key=lambda lm: lm.name != default) if default else lms


def default_first(lms: list[Lm], default: str) -> list[config.Lm]:
    """As workers get them."""
    return [lm.for_worker() for lm in ordered(lms, default)]


RULES: tuple[Rule, ...] = (
    Rule(
        "self.defaultLm == '' || self.lms.exists(lm, lm.name == self.defaultLm)",
        lambda spec: not spec.default_lm or any(lm.name == spec.default_lm for lm in spec.lms),
        "defaultLm must be the name of one of lms",
    ),
    Rule(
        "self.lms.all(lm, self.lms.exists_one(other, other.name == lm.name))",
        lambda spec: len({lm.name for lm in spec.lms}) == len(spec.lms),
        "each name in lms must stand once",
    ),
)
