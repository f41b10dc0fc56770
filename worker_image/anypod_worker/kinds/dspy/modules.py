"""From a spec to a DSPy module: one for each run, so that nothing of one run is in another."""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from types import SimpleNamespace
from typing import Any

import dspy
import msgspec

from anypod.dspy import spec
from anypod.dspy.spec import PredictorState
from anypod_worker.kinds.dspy import demos, prompts, types
from anypod_worker.runtime.loading import invalid

_DIVERSE = 0.7
"""Temperature of candidates, where the LM's own would give one answer again and again."""
_TOLD = re.compile(
    r"^\(\d+\) (\w+)(, whose description is .*|\. It takes arguments .*)", re.MULTILINE
)
"""How ReAct's instructions tell of a tool."""
_ADAPTERS: dict[str, Callable[[], Any]] = {
    # A reply in no form is told as it is, and not asked for once more in another.
    "chat": lambda: prompts.ChatAdapter(use_json_adapter_fallback=False),
    "json": prompts.JSONAdapter,
    "xml": lambda: prompts.XMLAdapter(use_json_adapter_fallback=False),
}


@dataclass(frozen=True)
class Parts:
    """What modules of one program are made of, found once."""

    spec: spec.Spec
    own: types.Own
    signature: Any
    tools: Mapping[str, Callable[..., Any]]

    def with_state(self, state: dict[str, PredictorState]) -> "Parts":
        document = msgspec.structs.replace(self.spec, state=state)
        return Parts(document, self.own, self.signature, self.tools)

    @cached_property
    def module(self) -> Any:
        """With the spec's state in it. It is not run but copied: to make the classes of its
        signatures takes milliseconds."""
        module = _BUILDERS[self.spec.module.name](self)
        for name, predictor in module.named_predictors():
            state = self.spec.state.get(name)
            if state is None:
                continue
            predictor.demos = [dspy.Example(self._seen(demo)) for demo in state.demos]
            if state.instructions is not None:
                predictor.signature = predictor.signature.with_instructions(state.instructions)
        return module

    @cached_property
    def copies(self) -> "Copies":
        return Copies(self.module)

    def _seen(self, demo: Mapping[str, Any]) -> dict[str, Any]:
        """Without a conversation, and with images as such; what fits no type stays as it is, which
        is text."""
        conversation = history_field(self.spec)
        return {
            name: types.read(value, self._pictures[name]) if name in self._pictures else value
            for name, value in demo.items()
            if name != conversation
        }

    @cached_property
    def _pictures(self) -> dict[str, Any]:
        """The types of inputs that are images or have some."""
        inputs = self.spec.signature.inputs
        of = {field.name: field.type for field in inputs if types.is_seen(field.type, self.own)}
        return {name: types.of(type_, self.own, given=True) for name, type_ in of.items()}


class Copies:
    """Of a module, one for each run: the next run's is made while one waits for its LM."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._ahead: Any = None

    def take(self) -> Any:
        """In a loop."""
        taken, self._ahead = self._ahead, None
        asyncio.get_running_loop().call_soon(self._make)
        return self._module.deepcopy() if taken is None else taken

    def _make(self) -> None:
        if self._ahead is None:
            self._ahead = self._module.deepcopy()


def parts(document: spec.Spec, tools: Mapping[str, Callable[..., Any]]) -> Parts:
    own = types.own_types(document.types)
    return Parts(document, own, _signature(document.signature, own), tools)


def _signature(given: spec.Signature, own: types.Own) -> Any:
    fields: dict[str, Any] = {}
    for make, side in ((dspy.InputField, given.inputs), (dspy.OutputField, given.outputs)):
        for field in side:
            said = {"desc": field.description} if field.description else {}
            fields[field.name] = (types.of(field.type, own), make(**said))
    return dspy.make_signature(fields, given.instructions or None)


def adapter(name: str) -> Any:
    return _ADAPTERS[name]()


def build(parts: Parts) -> Any:
    """A fresh module with the spec's state in it."""
    return parts.module.deepcopy()


def _react(parts: Parts) -> Any:
    tools = [dspy.Tool(function, name=name) for name, function in parts.tools.items()]
    return dspy.ReAct(parts.signature, tools=tools, max_iters=parts.spec.module.max_iters)


class Compared(dspy.Module):  # type: ignore[misc]
    """Several answers by reasoning at once, and one that is made by comparing them."""

    def __init__(self, signature: Any, candidates: int) -> None:
        super().__init__()
        self.candidates = dspy.ChainOfThought(signature)
        comparison = dspy.MultiChainComparison(signature, M=candidates)
        self.compare = comparison.predict
        self._count = candidates
        self._last = comparison.last_key

    async def aforward(self, **inputs: Any) -> Any:
        lm = dspy.settings.lm
        with dspy.context(send_stream=None):
            asked = [
                asyncio.ensure_future(
                    self.candidates.acall(**inputs, config={"rollout_id": n, **_diverse(lm)})
                )
                for n in range(self._count)
            ]
            try:
                found = await asyncio.gather(*asked)
            finally:
                for one in asked:
                    one.cancel()
        # DSPy's own words for the attempts; it would ask the LM itself, but not asynchronously.
        told = SimpleNamespace(M=self._count, last_key=self._last, predict=lambda **named: named)
        return await self.compare.acall(
            **dspy.MultiChainComparison.forward(told, list(found), **inputs)
        )


def _diverse(lm: Any) -> dict[str, float]:
    is_so = (lm.kwargs.get("temperature") or 0) >= _DIVERSE
    return {} if is_so or not _takes_temperatures(lm.model) else {"temperature": _DIVERSE}


@cache
def _takes_temperatures(model: str) -> bool:
    """Some models take none but their own."""
    try:
        dspy.LM(model, temperature=_DIVERSE)
    except dspy.LMError:
        return False
    return True


_BUILDERS: dict[str, Callable[[Parts], Any]] = {
    "Predict": lambda parts: dspy.Predict(parts.signature),
    "ChainOfThought": lambda parts: dspy.ChainOfThought(parts.signature),
    "ReAct": _react,
    "MultiChainComparison": lambda parts: Compared(parts.signature, parts.spec.module.candidates),
}


def check(parts: Parts) -> None:
    """That a module can be made, and that each predictor's prompt can be. Raises InvalidProgram."""
    try:
        module = build(parts)
    except Exception as error:
        raise invalid(f"DSPy refuses the program: {_words(error)}", path="module") from error
    form = adapter(parts.spec.adapter)
    for name, predictor in module.named_predictors():
        _check_tools_are_told(parts, name, predictor)
        inputs = dict.fromkeys(predictor.signature.input_fields, "")
        inputs.pop(history_field(parts.spec), None)
        try:
            form.format(predictor.signature, demos=predictor.demos, inputs=inputs)
        except Exception as error:
            demos.check(parts.spec, parts.own, name, predictor.signature)
            path = f"state.{name}" if name in parts.spec.state else "signature"
            raise invalid(f"no prompt can be made: {_words(error)}", path=path) from error


def check_demos(parts: Parts) -> None:
    """That they are of the fields' types. Raises InvalidProgram."""
    for name, predictor in parts.module.named_predictors():
        demos.check(parts.spec, parts.own, name, predictor.signature)


def _check_tools_are_told(parts: Parts, name: str, predictor: Any) -> None:
    """Instructions that were found with other tools would have the LM call those."""
    if name != "react":
        return
    said, path = predictor.signature.instructions, "state.react.instructions"
    for tool in parts.tools:
        if not re.search(rf"(?<!\w){re.escape(tool)}(?!\w)", said):
            raise invalid(f"the instructions do not name the tool {tool!r}", path=path)
    own = _TOLD.findall(_BUILDERS[parts.spec.module.name](parts).react.signature.instructions)
    if others := sorted({name for name, _ in set(_TOLD.findall(said)) - set(own)}):
        why = "which the program has not, or otherwise"
        raise invalid(f"the instructions tell of {', '.join(others)}, {why}", path=path)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:500]}"


def history_field(document: spec.Spec) -> str:
    """The input that holds the conversation; empty when there is none."""
    return next((f.name for f in document.signature.inputs if f.type == "History"), "")
