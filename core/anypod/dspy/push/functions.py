"""Tools of an agent and the reward of a wrap, as a program has them: functions given as source."""

import inspect
from dataclasses import replace
from typing import Any

import dspy

from anypod.dspy.push.indents import indented
from anypod.dspy.push.refusals import Refusals
from anypod.dspy.push.sources import Source, defined, source_of

_SAY = "say it in the function's name, docstring and annotations"


def tools(given: dict[str, Any], where: str, refusals: Refusals) -> tuple[list[Any], list[Any]]:
    """Documents of the tools, and the tools as a worker will have them."""
    documents, made = [], []
    for name, tool in given.items():
        place = f"{where}[{name!r}]"
        source = source_of(tool.func, place, refusals)
        if source is None:
            continue
        function = defined(source.text(), source.name, place, refusals)
        if function is None:
            continue
        documents.append({"name": source.name, "source": source.text()})
        made.append(dspy.Tool(function, name=source.name))
        _check_tool(tool, made[-1], place, refusals)
    return documents, made


def _check_tool(tool: Any, made: Any, where: str, refusals: Refusals) -> None:
    """That the LM is told the same of both."""
    for what in ("name", "desc", "args", "arg_desc"):
        if getattr(tool, what) != getattr(made, what):
            refusals.add(where, f"its {what!r} differs from what its function says", _SAY)


def reward(function: Any, where: str, refusals: Refusals) -> str:
    """DSPy's takes (args, pred), a program's two dicts: the one is put inside of the other."""
    source = source_of(function, where, refusals)
    if source is None:
        return ""
    for name in sorted(source.taken & {"inputs", "outputs"}):
        refusals.add(where, f"it takes {name!r} from around it", "give that another name")
    text = _in_reward(source)
    defined(text, "reward", where, refusals)
    return text


def _in_reward(source: Source) -> str:
    body = (
        "def reward(inputs, outputs):\n    import dspy\n\n"
        f"{indented(source.body)}\n"
        f"    return {source.name}(inputs, dspy.Prediction(outputs))\n"
    )
    return replace(source, body=body).text()


def wrapped_reward(program: Any) -> Any:
    """The function that was given to a wrap, which keeps it inside of one of its own."""
    held = program.reward_fn
    if not inspect.isfunction(held):
        return held
    return inspect.getclosurevars(held).nonlocals.get("reward_fn", held)
