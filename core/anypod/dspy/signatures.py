"""String signatures, ``"question, context: list[str] -> answer"``, and what fields may be called.

Where DSPy takes a field twice, drops a default or takes an empty side without a word, this refuses.
"""

import keyword
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from pydantic import BaseModel

MAX_TEXT = 20_000
MAX_FIELDS = 64
FIELD_NAME = r"^[A-Za-z][A-Za-z0-9_]{0,99}$"

OF_MODELS: Final = frozenset(name for name in dir(BaseModel) if not name.startswith("_"))
"""Names that a field of an own type must not have: it would hide a method."""

RESERVED: Final = OF_MODELS | frozenset(
    {"append", "config", "delete", "demos", "equals", "fields", "get", "input_fields", "insert"}
    | {"instructions", "items", "keys", "lm", "max_iters", "output_fields", "prepend", "reasoning"}
    | {"rollout_id", "self", "signature", "toDict", "traces", "trajectory", "values"}
    | {"augmented", "base", "new_signature", "prediction"}
    | {"with_instructions", "with_updated_fields"}
)
"""Names that DSPy, its predictions or pydantic use themselves: as inputs they would be taken for
arguments, as fields they would hide methods."""

_CLOSING = {"[": "]", "(": ")", "{": "}"}


class InvalidSignature(ValueError):
    """The text is no signature; the message says what is wrong and where."""


def check_name(name: str, reserved: Collection[str] = RESERVED) -> None:
    """Raises InvalidSignature for what a field must not be called."""
    if not re.fullmatch(FIELD_NAME, name):
        raise InvalidSignature(
            f"{name[:100]!r} is no name of a field: it begins with a letter, and has letters, "
            "digits and _"
        )
    if keyword.iskeyword(name) or name in reserved or name.startswith(("next_", "model_")):
        raise InvalidSignature(f"{name!r} is a word that DSPy or Python uses itself")


def check_names(inputs: Iterable[str], outputs: Iterable[str]) -> None:
    """Raises InvalidSignature for a name that stands twice."""
    seen: set[str] = set()
    for name in (*inputs, *outputs):
        if name in seen:
            raise InvalidSignature(f"the field {name!r} stands twice")
        seen.add(name)


Pair = tuple[str, str]
"""A name, and the text of its type."""


def parse(text: str) -> tuple[list[Pair], list[Pair]]:
    """Inputs and outputs; names are checked, types are still text. Raises InvalidSignature."""
    if len(text) > MAX_TEXT:
        raise InvalidSignature(f"a signature may have {MAX_TEXT} characters")
    sides = list(_split(text, "->"))
    if len(sides) != 2:
        raise InvalidSignature("a signature is 'inputs -> outputs', with one ->")
    inputs, outputs = (list(_fields(side)) for side in sides)
    if not inputs or not outputs:
        raise InvalidSignature("a signature has at least one input and one output")
    check_names((name for name, _ in inputs), (name for name, _ in outputs))
    return inputs, outputs


def render(inputs: Iterable[Pair], outputs: Iterable[Pair]) -> str:
    return " -> ".join(
        ", ".join(f"{name}: {type_}" for name, type_ in side) for side in (inputs, outputs)
    )


def _fields(side: str) -> Iterator[Pair]:
    if not side.strip():
        return
    for part in _split(side, ","):
        name, *types = _split(part, ":")
        name = name.strip()
        if len(types) > 1 or (types and not types[0].strip()):
            raise InvalidSignature(
                f"{part.strip()[:100]!r} is no field: it is 'name' or 'name: type'"
            )
        check_name(name)
        yield name, types[0].strip() if types else "str"


def _split(text: str, separator: str) -> Iterator[str]:
    """At the separators that stand in no brackets and in no quotes. Raises InvalidSignature."""
    begin, position = 0, 0
    expected: list[str] = []
    while position < len(text):
        character = text[position]
        if character in "'\"":
            position = _after_quotes(text, position)
            continue
        if character in _CLOSING:
            expected.append(_CLOSING[character])
        elif character in _CLOSING.values():
            if not expected or expected.pop() != character:
                raise InvalidSignature(f"{character!r} at character {position} closes nothing")
        elif not expected and text.startswith(separator, position):
            yield text[begin:position]
            position += len(separator)
            begin = position
            continue
        position += 1
    if expected:
        raise InvalidSignature(f"{expected[-1]!r} is missing at the end")
    yield text[begin:]


def _after_quotes(text: str, begin: int) -> int:
    position = begin + 1
    while position < len(text):
        if text[position] == "\\":
            position += 1
        elif text[position] == text[begin]:
            return position + 1
        position += 1
    raise InvalidSignature(f"the quotes at character {begin} are not closed")
