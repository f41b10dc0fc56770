"""A function as text that stands alone: its own source, below the imports and constants it needs.

What cannot be text is refused with the reason: closures, methods, objects that are called. What is
made is tried out: the text is run as a worker will, and defines the function.
"""

import __future__

import ast
import builtins
import importlib.util
import inspect
import symtable
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from anypod.dspy.push.carried import INSIDE, NotCarried, check_shared, lines_for
from anypod.dspy.push.indents import dedented
from anypod.dspy.push.refusals import Refusals

_FUTURE = __future__.annotations.compiler_flag
_ELSE = "write it as a function of the file that takes all it needs as arguments"


@dataclass(frozen=True, slots=True)
class Source:
    """``head`` are imports and constants, which define what is ``taken``; ``body`` the function."""

    name: str
    taken: frozenset[str]
    head: tuple[str, ...]
    body: str

    def text(self) -> str:
        return "\n".join((*self.head, *([""] if self.head else []), self.body))


def source_of(function: Any, where: str, refusals: Refusals) -> Source | None:
    """None when it is refused."""
    try:
        plain = _plain(function)
        text = _text(plain)
    except NotCarried as reason:
        refusals.add(where, reason.what, reason.to_do)
        return None
    tree = ast.parse(text)
    taken = _taken(text, plain.__code__) - {plain.__name__}
    head, refused = _head(plain, taken, tree)
    refused += [*_own_imports(tree, plain), *_written(text, plain.__code__)]
    for one in refused:
        refusals.add(where, one.what, one.to_do)
    return None if refused else Source(plain.__name__, taken, head, text)


def defined(text: str, name: str, where: str, refusals: Refusals) -> Callable[..., Any] | None:
    """The function that a worker will have; None when it is refused."""
    namespace: dict[str, Any] = {"__name__": name}
    try:
        exec(compile(text, f"<{name}>", "exec", dont_inherit=True), namespace)  # noqa: S102
    except Exception as error:  # noqa: BLE001 - the user's own code
        what = f"alone it cannot be defined: {type(error).__name__}: {error}"
        refusals.add(where, what, INSIDE)
        return None
    function: Callable[..., Any] = namespace[name]
    return function


def _plain(function: Any) -> FunctionType:
    """The function as it was written. Raises NotCarried."""
    if inspect.ismethod(function):
        raise NotCarried("it is a method, whose object stays here", _ELSE)
    plain = inspect.unwrap(function) if callable(function) else function
    if not inspect.isfunction(plain):
        raise NotCarried(f"it is no function but of the type {type(plain).__name__}", _ELSE)
    if plain.__name__ == "<lambda>":
        raise NotCarried("it is a lambda, which has no name", "write it as a def")
    if plain.__code__.co_freevars:
        names = ", ".join(plain.__code__.co_freevars)
        raise NotCarried(f"it uses {names} of the function that it was made in", _ELSE)
    return plain


def _text(function: FunctionType) -> str:
    """Raises NotCarried."""
    try:
        text = dedented(inspect.getsource(function)).rstrip("\n") + "\n"
        tree = ast.parse(text)
    except (OSError, TypeError, SyntaxError):
        raise NotCarried("its source cannot be read", "define it in the file") from None
    if getattr(tree.body[0], "name", None) != function.__name__:
        raise NotCarried("in its source it has another name", _ELSE)
    return text


def _head(
    function: FunctionType, taken: frozenset[str], tree: ast.AST
) -> tuple[tuple[str, ...], list[NotCarried]]:
    """Lines that define what is taken, and why some names have none."""
    future = function.__code__.co_flags & _FUTURE
    lines = ["from __future__ import annotations"] if future else []
    refused: list[NotCarried] = []
    for name in sorted(taken):
        try:
            lines += _lines(name, function, tree)
        except NotCarried as reason:
            refused.append(reason)
    return tuple(sorted(dict.fromkeys(lines), key=_order)), refused


def _order(line: str) -> int:
    """Imports from the future, imports, constants."""
    return next(
        n for n, word in enumerate(("from __", "from ", "import ", "")) if line.startswith(word)
    )


def _lines(name: str, function: FunctionType, tree: ast.AST) -> list[str]:
    """Raises NotCarried."""
    if name not in function.__globals__:
        if hasattr(builtins, name):
            return []
        raise NotCarried(f"it uses {name!r}, which there is not", INSIDE)
    if name == "__name__":
        return []
    if name.startswith("__"):
        raise NotCarried(f"it uses {name}, and there is no such file in a worker", INSIDE)
    return lines_for(name, function, tree)


def _tables(text: str, code: CodeType) -> Iterator[symtable.SymbolTable]:
    left = [symtable.symtable(text, code.co_filename, "exec")]
    while left:
        table = left.pop()
        yield table
        left += table.get_children()


def _taken(text: str, code: CodeType) -> frozenset[str]:
    """Names that the function, its decorators, annotations and defaults take from around it."""
    return frozenset(
        symbol.get_name()
        for table in _tables(text, code)
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (symbol.is_global() or table.get_type() == "module")
    )


def _written(text: str, code: CodeType) -> Iterator[NotCarried]:
    for table in _tables(text, code):
        for symbol in table.get_symbols():
            if symbol.is_declared_global() and symbol.is_assigned():
                what = f"it changes {symbol.get_name()!r}, which other workers do not see"
                yield NotCarried(what, "keep it in what the function returns")


def _own_imports(tree: ast.AST, function: FunctionType) -> Iterator[NotCarried]:
    """Imports inside of the function that workers cannot do."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield NotCarried("it imports relatively to its file", INSIDE)
            continue
        for name in _imported(node):
            try:
                check_shared(name, _file_of(name), function)
            except NotCarried as reason:
                yield reason


def _imported(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [one.name.partition(".")[0] for one in names]
        case ast.ImportFrom(module=str(module)):
            return [module.partition(".")[0]]
    return []


def _file_of(module: str) -> str | None:
    if module in sys.modules:
        return getattr(sys.modules[module], "__file__", None)
    spec = importlib.util.find_spec(module)
    return spec.origin if spec is not None and spec.has_location else None
