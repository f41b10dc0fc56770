"""What all models of the manifest are made of: their base, the kinds of their fields, their rules.

A rule is said once, for two judges: the API server evaluates its CEL expression, and local mode and
the operator evaluate ``holds``. Both give the same message.
"""

import ipaddress
import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
QUANTITY_PATTERN = r"^(\d+)(k|M|G|Ki|Mi|Gi)?$"
_QUANTITY = re.compile(QUANTITY_PATTERN)
PERCENT_PATTERN = r"^(100|[1-9]?[0-9])%$"
_PERCENT = re.compile(PERCENT_PATTERN)


def parse_quantity(value: Any) -> Any:
    """Bytes of a Kubernetes quantity such as ``512Mi``; other values are left to pydantic."""
    if not isinstance(value, str):
        return value
    match = _QUANTITY.match(value)
    if match is None:
        raise ValueError("must be a number of bytes, or one with k, M, G, Ki, Mi or Gi, as 512Mi")
    return int(match[1]) * _UNITS[match[2] or ""]


def parse_share(value: Any) -> Any:
    """A number of workers, or a percentage of them."""
    if isinstance(value, str):
        if _PERCENT.match(value) is None:
            raise ValueError("must be a number of workers, or a percentage, as 25%")
    elif isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("must be 0 or more, or a percentage, as 25%")
    return value


def is_network(text: str) -> bool:
    """``10.1.0.0/16``, with no bits beyond the mask."""
    try:
        return "/" in text and bool(ipaddress.ip_network(text))
    except ValueError:
        return False


Bytes = Annotated[int, BeforeValidator(parse_quantity)]
Share = Annotated[int | str, BeforeValidator(parse_share)]
PoolName = Annotated[str, StringConstraints(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=40)]
"""A DNS label that leaves room for the suffixes of what is made for the pool (63 in all)."""

ModuleName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$", max_length=200)
]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]+$", max_length=64)]
VariableName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)
]
ObjectName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)
]
KeyName = Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]
LABEL_KEY_PATTERN = (
    r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
)
_LABEL_KEY = re.compile(LABEL_KEY_PATTERN)
LabelKey = Annotated[str, StringConstraints(pattern=LABEL_KEY_PATTERN, max_length=317)]
LabelValue = Annotated[
    str, StringConstraints(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", max_length=63)
]
Labels = Annotated[dict[str, LabelValue], Field(max_length=64)]


class Rule(NamedTuple):
    """What the fields of one model must fulfil together."""

    cel: str
    """``self`` is the object, with its defaults filled in."""
    holds: Callable[[Any], bool]
    message: str


def label_keys(name: str, field: str) -> Rule:
    """That the labels of this field have keys that can be ones."""
    return Rule(
        f"self.{name}.all(key, key.matches('{LABEL_KEY_PATTERN}'))",
        lambda model: all(map(_LABEL_KEY.fullmatch, getattr(model, field))),
        f"a key of {name} must be letters, digits, -, _ and ., perhaps after a prefix and /",
    )


class Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        defer_build=True,
    )

    RULES: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _follow_the_rules(self) -> "Model":
        for rule in self.RULES:
            if not rule.holds(self):
                raise ValueError(rule.message)
        return self
