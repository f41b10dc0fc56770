"""The bases of what travels as JSON: camelCase names, frozen, and strict where we are asked."""

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class RequestModel(BaseModel):
    """What a client sends. A field that is not known is an error: it would be lost silently."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=to_camel,
        validate_by_name=False,
        validate_by_alias=True,
        defer_build=True,
    )


class AnswerModel(BaseModel):
    """What a client gets. Clients ignore fields that a newer gateway adds."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        defer_build=True,
    )


Item = TypeVar("Item", bound=AnswerModel)


class Listing(AnswerModel, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    next: str | None
    """Give it as ``after`` to get the next page; null on the last one."""
