"""The types that an entry function names for what it takes and gives.

An annotation that is a string is looked up as Python would, in the function's module. One that
cannot be looked up (a name imported for type checkers only) or that is no type at all (``x: 3``)
stands for anything: it is documentation, and the program would run without us.
"""

import functools
import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
)
from dataclasses import dataclass
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any, get_args, get_origin, get_type_hints

from anypod.session import Session

_ITERATORS = (Generator, AsyncGenerator, Iterator, AsyncIterator)
_ITERABLES = (Iterable, AsyncIterable)
_AWAITABLE = (Awaitable, Coroutine)
_EMPTY = inspect.Parameter.empty


@dataclass(frozen=True)
class Parameter:
    name: str
    annotation: Any
    """Any where nothing useful is said."""
    required: bool
    default: Any


@dataclass(frozen=True)
class Signature:
    parameters: tuple[Parameter, ...]
    """What can be an input; ``*args`` gets nothing."""
    session: Parameter | None = None
    """Receives the session object; not an input."""
    others: Any = None
    """Annotation of ``**kwargs``; None if there is none."""
    returns: Any = Any
    """The type of the outputs: a list, if they are given one by one."""
    positional: tuple[Parameter, ...] = ()
    """In order, those that cannot be passed by name; the session may be among them."""
    streams: bool = False
    """It is a generator, async or not, or says that it returns one."""
    waits: bool = False
    """It is a coroutine function or an async generator."""


def _implementation(entry: Any) -> Any:
    """The function behind partials, wrappers, bound methods and objects that can be called."""
    for _ in range(50):
        if isinstance(entry, functools.partial):
            entry = entry.func
        elif isinstance(entry, MethodType):
            entry = entry.__func__
        elif hasattr(entry, "__wrapped__"):
            entry = entry.__wrapped__
        elif isinstance(entry, FunctionType | type):
            break
        else:
            entry = type(entry).__call__
    return entry


def _resolved(annotation: Any, namespace: dict[str, Any]) -> Any:
    if annotation is _EMPTY:
        return Any
    holder = SimpleNamespace(__annotations__={"x": annotation})
    try:
        found = get_type_hints(holder, globalns=namespace, include_extras=True)["x"]
    except Exception:  # noqa: BLE001 - looking up runs code of the program
        return Any
    return found if _is_type(found) else Any


def _is_type(value: Any) -> bool:
    return not isinstance(value, int | float | complex | bytes | list | dict | set | tuple)


def _takes_session(raw: inspect.Parameter, resolved: Any) -> bool:
    """Named ``session``, and not said to be something else."""
    if raw.name != "session":
        return False
    if raw.annotation is _EMPTY or resolved is Session or Session in get_args(resolved):
        return True
    return resolved is Any and "Session" in str(raw.annotation)


def _outputs(annotation: Any, generator: bool) -> tuple[Any, bool]:
    """The type of the outputs, and whether the function gives them one by one."""
    origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if origin in _AWAITABLE:
        return (arguments[-1] if arguments else Any), False
    if origin in _ITERATORS or (generator and origin in _ITERABLES):
        return (list[arguments[0]] if arguments else list[Any]), True  # type: ignore[valid-type]
    return (list[Any] if generator else annotation), generator


def _parameter(raw: inspect.Parameter, namespace: dict[str, Any]) -> Parameter:
    return Parameter(
        name=raw.name,
        annotation=_resolved(raw.annotation, namespace),
        required=raw.default is _EMPTY,
        default=raw.default,
    )


def signature_of(entry: Callable[..., Any]) -> Signature:
    """Raises nothing: a callable that cannot be inspected takes any input."""
    try:
        function = _implementation(entry)
        signature = inspect.signature(entry)
    except Exception:  # noqa: BLE001 - a program can make attributes and signatures of its own
        return Signature(parameters=(), others=Any)
    target = vars(function).get("__init__") if isinstance(function, type) else function
    namespace = getattr(target, "__globals__", {})
    parameters: list[Parameter] = []
    positional: list[Parameter] = []
    session: Parameter | None = None
    others: Any = None
    for raw in signature.parameters.values():
        if raw.kind is raw.VAR_KEYWORD:
            others = _resolved(raw.annotation, namespace)
        elif raw.kind is not raw.VAR_POSITIONAL:
            parameter = _parameter(raw, namespace)
            if raw.kind is raw.POSITIONAL_ONLY:
                positional.append(parameter)
            if _takes_session(raw, parameter.annotation):
                session = parameter
            else:
                parameters.append(parameter)
    generator = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    returns, streams = _outputs(_resolved(signature.return_annotation, namespace), generator)
    waits = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    return Signature(tuple(parameters), session, others, returns, tuple(positional), streams, waits)
