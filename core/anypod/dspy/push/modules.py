"""Which part of a program each part of a DSPy module becomes, for the modules that there are.

A module is taken for what it is by its exact class: what a class of the user's own does between its
predictors is code, which a document does not say. What is left of an object beside its signature
is compared with a module made anew: where they differ, an optimiser has been, or somebody's hand.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import dspy

from anypod.dspy.push import functions
from anypod.dspy.push.fields import Types, instructions_of, plain
from anypod.dspy.push.refusals import Refusals
from anypod.dspy.push.state import state_of
from anypod.dspy.spec import INTERNAL_FIELDS

_OWN = (
    "it runs code of its own between its predictors: make it a program of kind python that imports "
    "dspy, or push its parts (FILE.py:NAME.PART)"
)
_LM_PARAMETERS = {"temperature": "temperature", "max_tokens": "maxTokens"}


@dataclass(slots=True)
class Shape:
    """What a module is made of; ``predictors`` by the names that a program's state has."""

    module: dict[str, Any]
    signature: Any
    predictors: dict[str, Any]
    make: Callable[[Any], dict[str, Any]]
    """The predictors of one that is made of a signature."""
    tools: list[Any] = field(default_factory=list)


def _predict(program: Any, where: str, refusals: Refusals) -> Shape:
    return Shape(
        {"name": "Predict"},
        program.signature,
        {"self": program},
        lambda signature: {"self": dspy.Predict(signature)},
    )


def _chain(program: Any, where: str, refusals: Refusals) -> Shape:
    return Shape(
        {"name": "ChainOfThought"},
        program.predict.signature.delete("reasoning"),
        {"predict": program.predict},
        lambda signature: {"predict": dspy.ChainOfThought(signature).predict},
    )


def _react(program: Any, where: str, refusals: Refusals) -> Shape:
    given = {name: tool for name, tool in program.tools.items() if name != "finish"}
    documents, made = functions.tools(given, f"{where}.tools", refusals)

    def make(signature: Any) -> dict[str, Any]:
        anew = dspy.ReAct(signature, tools=made, max_iters=program.max_iters)
        return {"react": anew.react, "extract.predict": anew.extract.predict}

    return Shape(
        {"name": "ReAct", "maxIters": program.max_iters},
        program.signature,
        {"react": program.react, "extract.predict": program.extract.predict},
        make,
        documents,
    )


def _compared(program: Any, where: str, refusals: Refusals) -> Shape:
    signature = program.predict.signature.delete("rationale")
    for number in range(program.M):
        signature = signature.delete(f"reasoning_attempt_{number + 1}")
    return Shape(
        {"name": "MultiChainComparison", "candidates": program.M},
        signature,
        {"compare": program.predict},
        lambda signature: {"compare": dspy.MultiChainComparison(signature, M=program.M).predict},
    )


_SHAPES: dict[type, Callable[[Any, str, Refusals], Shape]] = {
    dspy.Predict: _predict,
    dspy.ChainOfThought: _chain,
    dspy.ReAct: _react,
    dspy.MultiChainComparison: _compared,
}
_WRAPS = {dspy.BestOfN: "BestOfN", dspy.Refine: "Refine"}


def document_of(program: Any, where: str, refusals: Refusals) -> dict[str, Any]:
    """A program of kind dspy, as it is sent; what is refused is not in it."""
    document: dict[str, Any] = {"kind": "dspy"}
    if type(program) in _WRAPS:
        document["wrap"] = _wrap(program, where, refusals)
        program, where = program.module, f"{where}.module"
    make = _SHAPES.get(type(program))
    if make is None:
        refusals.add(where, *_not_known(program))
        return document
    for name in sorted({"forward", "aforward"} & vars(program).keys()):
        refusals.add(f"{where}.{name}", "it was put over the module's own", _OWN)
    shape = make(program, where, refusals)
    types = Types(refusals)
    document["signature"] = _signature(shape.signature, types, where)
    if types.definitions:
        document["types"] = types.definitions
    document["module"] = shape.module
    if shape.tools:
        document["tools"] = shape.tools
    if not refusals.found:
        document |= _found(shape, document["signature"].get("instructions"), where, refusals)
    return document


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


def _found(
    shape: Shape, instructions: str | None, where: str, refusals: Refusals
) -> dict[str, Any]:
    """LM parameters and state: what is not as in a module that was made just now."""
    signature = plain(shape.signature, instructions)
    anew = shape.make(signature)
    names = {*signature.input_fields, *signature.output_fields, "augmented"}
    state, parameters = {}, []
    for name, predictor in shape.predictors.items():
        place = where if name == "self" else f"{where}.{name}"
        _check_predictor(predictor, anew[name], place, refusals)
        known = names | set(INTERNAL_FIELDS[name])
        if found := state_of(predictor, anew[name], known, place, refusals):
            state[name] = found
        parameters.append(_parameters(predictor, anew[name], place, refusals))
    if len({id(one.lm) for one in shape.predictors.values()}) > 1:
        refusals.add(where, "its predictors ask different LMs", "give it one, or push its parts")
    if any(one != parameters[0] for one in parameters):
        refusals.add(
            where, "its predictors have different parameters of the LM", "give all the same"
        )
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
    if predictor.fields:
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
