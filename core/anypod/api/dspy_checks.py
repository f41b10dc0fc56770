"""From what a client gave to the canonical spec, or to the first thing that is wrong with it.

Everything here is decided from text and syntax trees: nothing of the client runs, and dspy is not
imported. What needs dspy, or the client's own code, an executor finds out.
"""

import ast
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping

from msgspec import UNSET

from anypod.api.dspy_programs import (
    DspyCode,
    DspyField,
    DspySignature,
    DspyType,
    DspyTypeField,
    LmParameters,
)
from anypod.dspy import signatures, types
from anypod.dspy.signatures import InvalidSignature
from anypod.dspy.spec import (
    PREDICTORS,
    Field,
    LmChoice,
    Module,
    OwnType,
    PredictorState,
    Signature,
    Spec,
    Tool,
    TypeField,
    Wrap,
    fields_beside,
)
from anypod.dspy.types import InvalidType

TYPE_NAME = re.compile(r"[A-Z][A-Za-z0-9]{0,63}")
_TAKEN = {*types.SCALARS, *types.GENERICS, *types.SPECIAL, "Literal", "None", "Optional", "Union"}
REWARD = "reward"
_ON_TOP = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)


class Refused(ValueError):
    """What is wrong, and the path of the field."""

    def __init__(self, path: str, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.line = line


def spec_of(given: DspyCode) -> Spec:
    """Raises Refused."""
    own = _own_types(given.types)
    signature = _signature(given, given.types)
    module = _module(given)
    _check_specials(signature)
    _check_not_the_modules(signature, module)
    return Spec(
        signature=signature,
        module=module,
        types=own,
        tools=_tools(given),
        wrap=_wrap(given),
        adapter=given.adapter,
        lm=lm_choice(given.lm),
        history_turns=given.history_turns,
        state=_state(given, module, signature),
    )


def lm_choice(given: LmParameters | None) -> LmChoice | None:
    """None when nothing is said."""
    if given is None:
        return None
    choice = LmChoice(given.name, given.temperature, given.max_tokens)
    return None if choice == LmChoice() else choice


# the signature, and types


def _signature(given: DspyCode, own: Collection[str]) -> Signature:
    signature = given.signature
    if signature.instructions and given.instructions is not None:
        raise Refused("instructions", "the signature has instructions of its own: give one")
    _check_field_names(signature)
    return Signature(
        _fields(signature.inputs, own, "signature.inputs"),
        _fields(signature.outputs, own, "signature.outputs"),
        signature.instructions or given.instructions or "",
    )


def _check_field_names(signature: DspySignature) -> None:
    try:
        signatures.check_names(
            (field.name for field in signature.inputs), (field.name for field in signature.outputs)
        )
    except InvalidSignature as wrong:
        raise Refused("signature", str(wrong)) from None


def _fields(
    given: Iterable[DspyField],
    own: Collection[str],
    path: str,
    reserved: Collection[str] = signatures.RESERVED,
) -> list[Field]:
    return [_field(one, own, f"{path}.{number}", reserved) for number, one in enumerate(given)]


def _field(given: DspyField, own: Collection[str], path: str, reserved: Collection[str]) -> Field:
    try:
        signatures.check_name(given.name, reserved)
    except InvalidSignature as wrong:
        raise Refused(f"{path}.name", str(wrong)) from None
    try:
        type_ = types.render(types.parse(given.type, own))
    except InvalidType as wrong:
        raise Refused(f"{path}.type", str(wrong)) from None
    return Field(given.name, type_, given.description)


def _own_types(given: Mapping[str, DspyType]) -> dict[str, OwnType]:
    found: dict[str, OwnType] = {}
    for name, own in given.items():
        path = f"types.{name}"
        if not TYPE_NAME.fullmatch(name) or name in _TAKEN:
            raise Refused(path, "a type's name begins with a capital, has letters and digits, and "
                          "is none of those that there are")  # fmt: skip
        fields = _fields(own.fields, given, f"{path}.fields", signatures.OF_MODELS)
        try:
            signatures.check_names((field.name for field in own.fields), ())
        except InvalidSignature as wrong:
            raise Refused(f"{path}.fields", str(wrong)) from None
        for number, field in enumerate(fields):
            if special := _specials(field):
                raise Refused(f"{path}.fields.{number}.type", f"{special} is for inputs only")
        found[name] = OwnType(list(map(_with_default, fields, own.fields)), own.description)
    _check_circles(found)
    return found


def _with_default(field: Field, given: DspyTypeField) -> TypeField:
    default = given.default if "default" in given.model_fields_set else UNSET
    return TypeField(field.name, field.type, field.description, default)


def _check_circles(own: Mapping[str, OwnType]) -> None:
    uses = {
        name: {
            used
            for field in definition.fields
            for used in types.names(types.parse(field.type, own))
            if used in own
        }
        for name, definition in own.items()
    }
    while uses:
        ready = [name for name, used in uses.items() if not used & uses.keys()]
        if not ready:
            names = ", ".join(sorted(uses))
            told = "contain each other" if len(uses) > 1 else "contains itself"
            raise Refused("types", f"{names} {told} without an end")
        for name in ready:
            del uses[name]


def _specials(field: Field) -> str:
    """What of DSPy's own is in the field's type; own types need not be known for that."""
    return next((name for name in types.SPECIAL if re.search(rf"\b{name}\b", field.type)), "")


def _check_specials(signature: Signature) -> None:
    for number, field in enumerate(signature.outputs):
        if special := _specials(field):
            raise Refused(f"signature.outputs.{number}.type", f"{special} is for inputs only")
    histories = [field for field in signature.inputs if _specials(field) == "History"]
    if len(histories) > 1:
        raise Refused("signature.inputs", "there can be one History")
    if histories and histories[0].type != "History":
        raise Refused("signature.inputs", "a History stands alone: 'history: History'")
    if len(histories) == len(signature.inputs):
        raise Refused("signature.inputs", "beside the History there must be an input")


def _check_not_the_modules(signature: Signature, module: Module) -> None:
    """Fields that a module has beside those of its signature take the place of others."""
    its_own = {one for name in PREDICTORS[module.name] for one in fields_beside(name, module)}
    for side in ("inputs", "outputs"):
        for number, field in enumerate(getattr(signature, side)):
            if field.name in its_own:
                path = f"signature.{side}.{number}.name"
                raise Refused(path, f"{module.name} has a field {field.name!r} of its own")


# modules and functions


def _module(given: DspyCode) -> Module:
    asked = given.module
    _only("module.maxIters", asked.max_iters, asked.name, "ReAct")
    _only("module.candidates", asked.candidates, asked.name, "MultiChainComparison")
    usual = Module(asked.name)
    module = Module(
        asked.name, asked.max_iters or usual.max_iters, asked.candidates or usual.candidates
    )
    if (module.name == "ReAct") != bool(given.tools):
        raise Refused("tools", "ReAct needs at least one tool, and no other module takes any")
    return module


def _only(path: str, value: int | None, name: str, module: str) -> None:
    if value is not None and name != module:
        raise Refused(path, f"{name} has no such argument, only {module}")


def _tools(given: DspyCode) -> list[Tool]:
    names: set[str] = set()
    for number, tool in enumerate(given.tools):
        path = f"tools.{number}"
        if not re.fullmatch(signatures.FIELD_NAME, tool.name) or tool.name == "finish":
            raise Refused(f"{path}.name", "a tool's name is a function's, and not 'finish'")
        if tool.name in names:
            raise Refused(f"{path}.name", f"the tool {tool.name!r} stands twice")
        names.add(tool.name)
        check_function(tool.source, tool.name, f"{path}.source")
    return [Tool(tool.name, tool.source) for tool in given.tools]


def _wrap(given: DspyCode) -> Wrap | None:
    wrap = given.wrap
    if wrap is None:
        return None
    check_function(wrap.reward, REWARD, "wrap.reward", takes=2)
    return Wrap(wrap.name, wrap.reward, wrap.threshold, wrap.attempts)


def check_function(source: str, name: str, path: str, takes: int | None = None) -> None:
    """One function of that name, with imports and constants, and nothing else. It is called with
    so many arguments; None: with those that it says."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except SyntaxError as wrong:
        if wrong.lineno is None:
            raise Refused(path, f"not Python: {wrong.msg}") from None
        raise Refused(path, f"line {wrong.lineno}: {wrong.msg}", wrong.lineno) from None
    except (ValueError, RecursionError, MemoryError) as wrong:
        raise Refused(path, f"not Python: {wrong}") from None
    functions = [
        one for one in tree.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    if [function.name for function in functions] != [name]:
        found = ", ".join(function.name for function in functions) or "none"
        raise Refused(path, f"must define one function, {name}; it defines: {found}")
    for node in tree.body:
        if not isinstance(node, (*_ON_TOP, ast.FunctionDef, ast.AsyncFunctionDef, ast.Expr)):
            raise Refused(
                path,
                f"line {node.lineno}: beside the function there may be imports and constants",
                node.lineno,
            )
    [function] = functions
    if not function.decorator_list:  # which may make another one of it
        _check_call(function, path, takes)


_Function = ast.FunctionDef | ast.AsyncFunctionDef


def _check_call(function: _Function, path: str, takes: int | None) -> None:
    """That a call of it gives a value. What an LM calls, it calls with arguments by their names."""
    name, arguments = function.name, function.args
    if takes is not None and not _takes(arguments, takes):
        raise _at(function.lineno, path, f"{name} must take {takes} arguments")
    if takes is None:
        for one in filter(None, (*arguments.posonlyargs, arguments.vararg)):
            why = f"{name} gets arguments by their names: {one.arg} would get none"
            raise _at(one.lineno, path, why)
    for node in _own_nodes(function):
        if isinstance(node, ast.Yield | ast.YieldFrom):
            why = f"{name} must return its value: nobody reads what it yields"
            raise _at(node.lineno, path, why)


def _at(line: int, path: str, message: str) -> Refused:
    return Refused(path, f"line {line}: {message}", line)


def _own_nodes(function: _Function) -> Iterator[ast.AST]:
    """Of its body, without those of functions within."""
    left: list[ast.AST] = list(function.body)
    while left:
        node = left.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            left += ast.iter_child_nodes(node)


def _takes(arguments: ast.arguments, count: int) -> bool:
    """Whether it can be called with so many, by their places."""
    most = len(arguments.posonlyargs) + len(arguments.args)
    fits = most - len(arguments.defaults) <= count and (count <= most or arguments.vararg)
    return bool(fits) and None not in arguments.kw_defaults


# the state


def _state(given: DspyCode, module: Module, signature: Signature) -> dict[str, PredictorState]:
    known = PREDICTORS[module.name]
    own = [field.name for field in (*signature.inputs, *signature.outputs)]
    found: dict[str, PredictorState] = {}
    for name, state in given.state.items():
        path = f"state.{name}"
        if name not in known:
            raise Refused(path, f"{module.name} has no such predictor; it has: {', '.join(known)}")
        allowed = {*own, *fields_beside(name, module), "augmented"}
        for number, demo in enumerate(state.demos):
            if unknown := sorted(set(demo) - allowed):
                raise Refused(
                    f"{path}.demos.{number}.{unknown[0]}",
                    f"no field of the signature; there are: {', '.join(sorted(allowed))}",
                )
        found[name] = PredictorState(state.instructions, state.demos)
    return found
