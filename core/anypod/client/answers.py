"""What runs give back, and how answers are read.

``json`` of the standard library reads them, because outputs may hold what stricter parsers refuse:
integers of any size, and strings with unpaired surrogates.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import msgspec
from pydantic import ValidationError

from anypod.api.documents import AnswerModel
from anypod.api.executions import Execution
from anypod.api.problems import AnyPodError, Problem
from anypod.client.errors import AnswerLost, UnexpectedAnswer, error_of
from anypod.client.events import ServerSentEvent


@dataclass(frozen=True, slots=True)
class Answer:
    """A run that went well; last event of a stream, where ``outputs`` is None after what a
    generator yielded."""

    outputs: Any
    execution: Execution


@dataclass(frozen=True, slots=True)
class Chunk:
    """One value that the program yielded; of a DSPy program a piece of one output,
    ``{"field": ..., "text": ...}``."""

    data: Any


@dataclass(frozen=True, slots=True)
class LogText:
    """Something that the program printed."""

    stream: Literal["stdout", "stderr"]
    text: str


StreamEvent = Chunk | LogText | Answer

M = TypeVar("M", bound=AnswerModel)


@dataclass(frozen=True, slots=True)
class Page(Generic[M]):
    items: list[M]
    next: str | None
    """Names the page after this one; None on the last."""


def parse(body: bytes | str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as broken:
        raise UnexpectedAnswer(f"the answer is not JSON: {broken}") from None


def nothing(_: bytes) -> None:
    return None


def answer(body: bytes | str) -> Answer:
    document = parse(body)
    try:
        return Answer(document["outputs"], msgspec.convert(document["execution"], Execution))
    except (KeyError, TypeError, msgspec.ValidationError) as wrong:
        raise UnexpectedAnswer(f"not the answer of a run: {wrong!r}") from None


def page(model: type[M]) -> Callable[[bytes], Page[M]]:
    def read(body: bytes) -> Page[M]:
        listing = parse(body)
        try:
            return Page([model.model_validate(item) for item in listing["items"]], listing["next"])
        except (ValidationError, KeyError, TypeError) as wrong:
            raise UnexpectedAnswer(f"not a list of a gateway: {wrong!r}") from None

    return read


def document(model: type[M]) -> Callable[[bytes], M]:
    def read(body: bytes) -> M:
        try:
            return model.model_validate(parse(body))
        except ValidationError as wrong:
            raise UnexpectedAnswer(f"not what a gateway answers: {wrong}") from None

    return read


class Ending:
    """Turns raw events of a stream into ours, and knows how it ended: the last event says so, and
    what the connection does after that does not matter."""

    def __init__(self) -> None:
        self.is_told = False
        self._problem: AnyPodError | None = None

    def take(self, event: ServerSentEvent) -> StreamEvent | None:
        """None for an event that is not for the caller, or that this client does not know."""
        match event.name:
            case "chunk":
                return Chunk(parse(event.data))
            case "log":
                return _converted(event.data, LogText)
            case "result":
                self.is_told = True
                return answer(event.data)
            case "problem":
                self.is_told = True
                self._problem = error_of(_converted(event.data, Problem))
        return None

    def check(self) -> None:
        """At the end of the stream. Raises its problem, or AnswerLost if it has no last event."""
        if self._problem is not None:
            raise self._problem
        if not self.is_told:
            raise AnswerLost("the stream ended without a result")


T = TypeVar("T")


def _converted(text: str, wanted: type[T]) -> T:
    try:
        return msgspec.convert(parse(text), wanted)
    except msgspec.ValidationError as wrong:
        raise UnexpectedAnswer(f"not an event of a run: {wrong}") from None
