"""A notebook's examples and metric, as a pool that evaluates and optimises takes them."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import dspy

from anypod.dspy.push.indents import indented
from anypod.dspy.push.refusals import Refusals
from anypod.dspy.push.sources import defined, source_of
from anypod.dspy.push.state import as_json


def examples(given: Iterable[dspy.Example]) -> list[dict[str, Any]]:
    """``client.evaluate("qa", examples(devset), ...)``. Raises CannotBeServed."""
    refusals = Refusals()
    found = [_example(one, f"examples[{number}]", refusals) for number, one in enumerate(given)]
    refusals.check()
    return found


def _example(given: Any, where: str, refusals: Refusals) -> dict[str, Any]:
    try:
        parts = {"inputs": given.inputs(), "expected": given.labels()}
    except (AttributeError, ValueError):
        to_do = "make it by dspy.Example(...).with_inputs(...)"
        refusals.add(where, "nothing says which of its fields are inputs", to_do)
        return {}
    return {
        name: {
            field: as_json(value, f"{where}[{field!r}]", "leave the example out", refusals)
            for field, value in part.items()
        }
        for name, part in parts.items()
    }


def metric(function: Callable[..., Any]) -> dict[str, str]:
    """``client.evaluate("qa", ..., metric(exact))``: its source, below what it uses of its file.
    Raises CannotBeServed."""
    refusals = Refusals()
    text = _metric(function, refusals)
    refusals.check()
    return {"source": text}


def _metric(function: Callable[..., Any], refusals: Refusals) -> str:
    where = getattr(function, "__name__", "metric")
    source = source_of(function, where, refusals)
    if source is None:
        return ""
    try:
        inspect.signature(function).bind(None, None)
    except TypeError as wrong:
        to_do = "it is called with an example and a prediction: give others a default"
        refusals.add(where, str(wrong), to_do)
    if source.name != "metric":
        for name in sorted(source.taken & {"example", "prediction"}):
            refusals.add(where, f"it takes {name!r} from around it", "give that another name")
        source = replace(source, body=_in_metric(source.name, source.body))
    text = source.text()
    defined(text, "metric", where, refusals)
    return text


def _in_metric(name: str, body: str) -> str:
    return (
        "def metric(example, prediction):\n"
        f"{indented(body)}\n"
        f"    return {name}(example, prediction)\n"
    )
