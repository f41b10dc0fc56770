"""Types of fields: text such as ``list[str] | None``, read against a list of what there is.

A type is read from Python's syntax tree, never evaluated, and written back in one canonical form,
so that two spellings of one type are one revision.
"""

import ast
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

SCALARS: Final = ("str", "int", "float", "bool", "date", "datetime", "Any")
GENERICS: Final = {"list": 1, "dict": 2}
"""With how many arguments; without any they hold anything."""
SPECIAL: Final = ("Image", "History")
"""DSPy's own."""

MAX_TEXT = 1000
MAX_DEPTH = 8
MAX_PARTS = 60

LiteralValue = str | int | bool | None


class InvalidType(ValueError):
    """The text is no type that a field can have; the message says what is allowed."""


@dataclass(frozen=True, slots=True)
class Named:
    """A type by its name, with what is in its brackets."""

    name: str
    arguments: tuple["Type", ...] = ()


@dataclass(frozen=True, slots=True)
class OneOf:
    """``Literal[...]``, by what is written in it: 1 and True are equal, and not the same."""

    written: tuple[str, ...]

    @property
    def values(self) -> tuple[LiteralValue, ...]:
        return tuple(ast.literal_eval(one) for one in self.written)


@dataclass(frozen=True, slots=True)
class Union:
    """Members in their order, each once; ``None`` is ``Named("None")``."""

    members: tuple["Type", ...]


Type = Named | OneOf | Union

NONE = Named("None")


def allowed(own: Collection[str] = ()) -> str:
    """For people: what a type may be made of."""
    names = ", ".join((*SCALARS, *GENERICS, *SPECIAL, *sorted(own)))
    return f"{names}, Literal[...], Optional[...], and unions with |"


def parse(text: str, own: Collection[str] = ()) -> Type:
    """``own`` are the names of the program's own types. Raises InvalidType."""
    if len(text) > MAX_TEXT:
        raise InvalidType(f"a type may have {MAX_TEXT} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InvalidType(f"{text[:100]!r} is not a type; there are {allowed(own)}") from None
    return _Reader(own).read(tree.body, MAX_DEPTH)


class _Reader:
    def __init__(self, own: Collection[str]) -> None:
        self._own = own
        self._left = MAX_PARTS

    def read(self, node: ast.expr, depth: int) -> Type:
        self._left -= 1
        if depth == 0 or self._left < 0:
            raise InvalidType(f"a type may have {MAX_DEPTH} levels and {MAX_PARTS} parts")
        match node:
            case ast.Constant(value=None):
                return NONE
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return _union([self.read(left, depth - 1), self.read(right, depth - 1)])
            case ast.Subscript(value=base, slice=inside):
                return self._subscript(_name(base), _parts(inside), depth)
        return self._plain(_name(node))

    def _plain(self, name: str) -> Type:
        if name in SCALARS or name in GENERICS or name in SPECIAL or name in self._own:
            return Named(name)
        raise InvalidType(f"there is no type {name!r}; there are {allowed(self._own)}")

    def _subscript(self, name: str, parts: list[ast.expr], depth: int) -> Type:
        if name == "Literal":
            self._left -= len(parts)
            return OneOf(tuple(dict.fromkeys(ascii(_literal(part)) for part in parts)))
        arguments = [self.read(part, depth - 1) for part in parts]
        if name == "Optional" and len(arguments) == 1:
            return _union([*arguments, NONE])
        if name == "Union" and arguments:
            return _union(arguments)
        if GENERICS.get(name) != len(arguments):
            raise InvalidType(
                f"{name}[...] with {len(arguments)} parts is no type; there are list[T], "
                "dict[str, T], Literal[...], Optional[T]"
            )
        if name == "dict" and arguments[0] != Named("str"):
            raise InvalidType("the keys of a dict are str, as JSON has them: dict[str, T]")
        return Named(name, tuple(arguments))


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        if node.value.id in {"dspy", "typing"}:
            return node.attr
        raise InvalidType(f"{node.value.id}.{node.attr} is no type: nothing is imported for types")
    raise InvalidType(f"a type is a name, not {type(node).__name__.lower()}")


def _parts(node: ast.expr) -> list[ast.expr]:
    return list(node.elts) if isinstance(node, ast.Tuple) else [node]


def _literal(node: ast.expr) -> LiteralValue:
    value: object = ...
    if isinstance(node, ast.Constant):
        value = node.value
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = node.operand
        if isinstance(inner, ast.Constant) and type(inner.value) is int:
            value = -inner.value
    if value is not None and not isinstance(value, str | int):
        raise InvalidType("Literal takes strings, whole numbers, True, False and None")
    if isinstance(value, str) and not _is_text(value):
        raise InvalidType("Literal takes no unpaired surrogates")
    if isinstance(value, int) and abs(value) > 2**53:
        raise InvalidType("Literal takes whole numbers up to 2**53")
    return value


def _is_text(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _union(members: list[Type]) -> Type:
    flat: list[Type] = []
    for member in members:
        flat += member.members if isinstance(member, Union) else [member]
    unique = tuple(dict.fromkeys(flat))
    return unique[0] if len(unique) == 1 else Union(unique)


def render(type_: Type) -> str:
    """The canonical text: parsing it gives the same type."""
    match type_:
        case OneOf(written):
            return f"Literal[{', '.join(written)}]"
        case Union(members):
            return " | ".join(map(render, members))
        case Named(name, arguments) if arguments:
            return f"{name}[{', '.join(map(render, arguments))}]"
    return type_.name


def names(type_: Type) -> Iterator[str]:
    """Every name that it is made of."""
    match type_:
        case Union(members):
            for member in members:
                yield from names(member)
        case Named(name, arguments):
            yield name
            for argument in arguments:
                yield from names(argument)
