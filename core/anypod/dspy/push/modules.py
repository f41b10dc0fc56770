"""Which part of a program each part of a DSPy module becomes, for the modules that there are.

A module is taken for what it is by its exact class: what a class of the user's own does between its
predictors is code, which a document does not say. What is left of an object beside its signature
is compared with a module made anew: where they differ, an optimiser has been, or somebody's hand.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import dspy

from anypod.dspy.push import functions
from anypod.dspy.push.fields import Types, instructions_of, plain
from anypod.dspy.push.refusals import Refusals
from anypod.dspy.push.state import state_of

_OWN = (
    "it runs code of its own between its predictors: make it a program of kind python that imports "
    "dspy, or push its parts (FILE.py:NAME.PART)"
)
_LM_PARAMETERS = {"temperature": "temperature", "max_tokens": "maxTokens"}


@dataclass(slots=True)
class Shape:
    """What a module is made of, and how one is made of a signature."""

    module: dict[str, Any]
    signature: Any
    make: Callable[[Any], Any]
    tools: list[Any] = field(default_factory=list)


def _predict(program: Any, where: str, refusals: Refusals) -> Shape:
    return Shape({"name": "Predict"}, program.signature, dspy.Predict)


def _chain(program: Any, where: str, refusals: Refusals) -> Shape:
    signature = program.predict.signature.delete("reasoning")
    return Shape({"name": "ChainOfThought"}, signature, dspy.ChainOfThought)


def _react(program: Any, where: str, refusals: Refusals) -> Shape:
    given = {name: tool for name, tool in program.tools.items() if name != "finish"}
    documents, made = functions.tools(given, f"{where}.tools", refusals)

    def make(signature: Any) -> Any:
        return dspy.ReAct(signature, tools=made, max_iters=program.max_iters)

    module = {"name": "ReAct", "maxIters": program.max_iters}
    return Shape(module, program.signature, make, documents)


def _compared(program: Any, where: str, refusals: Refusals) -> Shape:
    signature = program.predict.signature.delete("rationale")
    for number in range(program.M):
        signature = signature.delete(f"reasoning_attempt_{number + 1}")

    def make(signature: Any) -> Any:
        return dspy.MultiChainComparison(signature, M=program.M)

    return Shape({"name": "MultiChainComparison", "candidates": program.M}, signature, make)


_SHAPES: dict[type, Callable[[Any, str, Refusals], Shape]] = {
    dspy.Predict: _predict,
    dspy.ChainOfThought: _chain,
    dspy.ReAct: _react,
    dspy.MultiChainComparison: _compared,
}
_PREDICTORS: dict[type, dict[str, str]] = {
    dspy.Predict: {"self": ""},
    dspy.ChainOfThought: {"predict": "predict"},
    dspy.ReAct: {"react": "react", "extract.predict": "extract.predict"},
    dspy.MultiChainComparison: {"compare": "predict"},
}
"""Where they are, by the names that a program's state has for them."""
_WRAPS = {dspy.BestOfN: "BestOfN", dspy.Refine: "Refine"}


def document_of(program: Any, where: str, refusals: Refusals) -> dict[str, Any]:
    """A program of kind dspy, as it is sent; what is refused is not in it."""
    document: dict[str, Any] = {"kind": "dspy"}
    if type(program) in _WRAPS:
        document["wrap"] = _wrap(program, where, refusals)
        program, where = program.module, f"{where}.module"
    if not _is_as_made(program, where, refusals):
        return document
    shape = _SHAPES[type(program)](program, where, refusals)
    types = Types(refusals)
    document["signature"] = _signature(shape.signature, types, where)
    if types.definitions:
        document["types"] = types.definitions
    document["module"] = shape.module
    if shape.tools:
        document["tools"] = shape.tools
    if not refusals.found:
        anew = shape.make(plain(shape.signature, document["signature"].get("instructions")))
        document |= _differences(program, anew, where, refusals)
    return document


def _is_as_made(program: Any, where: str, refusals: Refusals) -> bool:
    """One of the modules that there are, with nothing else put into its places."""
    if type(program) not in _SHAPES:
        refusals.add(where, *_not_known(program))
        return False
    found = [name for name in ("forward", "aforward") if name in vars(program)]
    for path, predictor in _predictors(program).values():
        found += [path] if type(predictor) is not dspy.Predict else []
    for name in found:
        refusals.add(f"{where}.{name}", "it was put over the module's own", _OWN)
    return not found


def _predictors(program: Any) -> dict[str, tuple[str, Any]]:
    """Each with the path that leads to it."""
    return {
        name: (path, reduce(_part, filter(None, path.split(".")), program))
        for name, path in _PREDICTORS[type(program)].items()
    }


def _part(of: Any, name: str) -> Any:
    return getattr(of, name, None)


def _not_known(program: Any) -> tuple[str, str]:
    names = ", ".join(one.__name__ for one in (*_SHAPES, *_WRAPS))
    name = type(program).__name__
    if isinstance(program, type):
        return f"it is the class {program.__name__}", "push an object that is made of it"
    if not isinstance(program, dspy.Module):
        return f"it is no dspy.Module but of the type {name}", f"there are: {names}"
    if type(program).__module__.partition(".")[0] == "dspy":
        return f"{name} has no program", f"there are: {names}"
    return f"{name} is a class of your own", _OWN


def _wrap(program: Any, where: str, refusals: Refusals) -> dict[str, Any]:
    if program.fail_count != program.N:
        refusals.add(f"{where}.fail_count", "a failed attempt counts as the worst", "leave it out")
    if program.threshold is None:
        refusals.add(f"{where}.threshold", "there is none", "say which reward is good enough")
    source = functions.reward(functions.wrapped_reward(program), f"{where}.reward_fn", refusals)
    return {
        "name": _WRAPS[type(program)],
        "attempts": program.N,
        "threshold": program.threshold,
        "reward": source,
    }


def _signature(signature: Any, types: Types, where: str) -> dict[str, Any]:
    said = instructions_of(signature)
    sides = {"inputs": signature.input_fields, "outputs": signature.output_fields}
    return ({"instructions": said} if said else {}) | {
        side: [
            types.of_signature(name, one, f"{where}.signature.{name}")
            for name, one in fields.items()
        ]
        for side, fields in sides.items()
    }


def _differences(program: Any, anew: Any, where: str, refusals: Refusals) -> dict[str, Any]:
    """LM parameters and state: what is not as in a module that was made just now."""
    state, parameters, lms = {}, [], []
    made = _predictors(anew)
    for name, (path, predictor) in _predictors(program).items():
        place = f"{where}.{path}" if path else where
        _check_predictor(predictor, made[name][1], place, refusals)
        if found := state_of(predictor, made[name][1], place, refusals):
            state[name] = found
        parameters.append(_parameters(predictor, made[name][1], place, refusals))
        lms.append((getattr(predictor.lm, "model", None), getattr(predictor.lm, "kwargs", None)))
    if any(one != lms[0] for one in lms):
        refusals.add(where, "its predictors ask different LMs", "give it one, or push its parts")
    if any(one != parameters[0] for one in parameters):
        to_do = "give them all the same"
        refusals.add(where, "its predictors have different parameters of the LM", to_do)
    return {
        **({"lm": parameters[0]} if parameters[0] else {}),
        **({"state": state} if state else {}),
    }


def _check_predictor(predictor: Any, made: Any, where: str, refusals: Refusals) -> None:
    if _shown(predictor.signature) != _shown(made.signature):
        to_do = "make the module anew of the signature that you want"
        refusals.add(where, "its fields are not those that its signature gives it", to_do)
    if predictor.callbacks:
        refusals.add(f"{where}.callbacks", "callbacks stay here", "take them away")
    if getattr(predictor, "fields", None):
        refusals.add(f"{where}.fields", "criteria of decisions have no place in a program")


def _shown(signature: Any) -> list[Any]:
    return [
        (name, one.annotation, one.json_schema_extra["desc"])
        for side in (signature.input_fields, signature.output_fields)
        for name, one in side.items()
    ]


def _parameters(predictor: Any, made: Any, where: str, refusals: Refusals) -> dict[str, Any]:
    """What was said of the LM where the predictor was made."""
    said = {name: one for name, one in predictor.config.items() if made.config.get(name) != one}
    for name in sorted(said):
        if name not in _LM_PARAMETERS or name in made.config:
            to_do = "a program says temperature and max_tokens; the pool's LM says the rest"
            refusals.add(f"{where}.config[{name!r}]", "it has no place in a program", to_do)
    return {to: said[name] for name, to in _LM_PARAMETERS.items() if said.get(name) is not None}
