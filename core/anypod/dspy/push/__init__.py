"""From an object of a notebook, a ``dspy.Module``, to a program of kind ``dspy``.

What is made is a document, and no pickle: signature, module, tools and reward as source, demos and
instructions. What an object has that no document says is refused, all of it at once. This needs
dspy, which nothing else outside of a worker does; it is imported where somebody pushes.
"""

from typing import TYPE_CHECKING, Any, cast

import dspy
from pydantic import ValidationError

from anypod.api.dspy_checks import Refused, spec_of
from anypod.api.dspy_programs import CreateDspyProgram
from anypod.dspy.push.evaluating import examples, metric
from anypod.dspy.push.modules import document_of
from anypod.dspy.push.refusals import CannotBeServed, Refusal, Refusals

if TYPE_CHECKING:
    from anypod.client.calls import CodeArguments

__all__ = ["CannotBeServed", "Refusal", "definition", "examples", "metric"]

_ADAPTERS = {dspy.ChatAdapter: "chat", dspy.JSONAdapter: "json", dspy.XMLAdapter: "xml"}


def definition(program: Any, *, lm: str | None = None, name: str = "program") -> "CodeArguments":
    """The program that the object is: ``client.programs.put("qa", **definition(program))``.

    ``lm`` is one of the pool's: the object's own stays where it is. Refusals call the object
    ``name``. Raises CannotBeServed.
    """
    refusals = Refusals()
    document = document_of(program, name, refusals)
    _add_adapter(document, refusals)
    if lm is not None:
        document["lm"] = {**document.get("lm", {}), "name": lm}
    refusals.check()
    _check_as_a_gateway(document, name, refusals)
    refusals.check()
    return cast("CodeArguments", document)


def _add_adapter(document: dict[str, Any], refusals: Refusals) -> None:
    configured = dspy.settings.adapter
    if configured is None:
        return
    adapter = _ADAPTERS.get(type(configured))
    if adapter is None:
        to_do = f"there are: {', '.join(one.__name__ for one in _ADAPTERS)}"
        what = f"{type(configured).__name__} is no adapter of a program's"
        refusals.add("dspy.settings.adapter", what, to_do)
    elif adapter != "chat":
        document["adapter"] = adapter


def _check_as_a_gateway(document: dict[str, Any], name: str, refusals: Refusals) -> None:
    try:
        spec_of(CreateDspyProgram.model_validate(document))
    except ValidationError as wrong:
        for error in wrong.errors():
            where = ".".join(map(str, (name, *error["loc"])))
            refusals.add(where, error["msg"])
    except Refused as reason:
        refusals.add(f"{name}.{reason.path}", str(reason))
