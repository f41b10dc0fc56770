"""BestOfN and Refine, asynchronously: more than one attempt, of which the best by a reward counts.

DSPy's own are synchronous, print, and go on with failed attempts until none is left. Here an
attempt whose reply is unusable counts as the worst, and what is wrong with the LM itself ends all.
"""

import inspect
import json
import math
from collections.abc import Callable
from typing import Any

import dspy
from dspy.predict.refine import OfferFeedback, inspect_modules

from anypod.dspy.spec import Wrap
from anypod_worker.kinds.dspy import modules

Reward = Callable[[dict[str, Any], dict[str, Any]], Any]


async def best(parts: modules.Parts, wrap: Wrap, reward: Reward, inputs: dict[str, Any]) -> Any:
    """The prediction with the highest reward; the first that reaches the threshold."""
    found, found_reward = None, -math.inf
    failed: Exception | None = None
    advice: dict[str, str] = {}
    for attempt in range(wrap.attempts):
        module = modules.build(parts)
        _advise(module, advice)
        try:
            with dspy.context(lm=dspy.settings.lm.of_attempt(attempt), trace=[]):
                prediction = await module.acall(**inputs)
                trace = list(dspy.settings.trace)
        except dspy.AdapterParseError as error:
            failed = error
            continue
        worth = await _worth(reward, inputs, prediction)
        if found is None or worth > found_reward:
            found, found_reward = prediction, worth
        if worth >= wrap.threshold or attempt == wrap.attempts - 1:
            break
        if wrap.name == "Refine":
            advice = await _advice(module, wrap, inputs, prediction, trace, worth)
    if found is None:
        assert failed is not None
        raise failed
    return found


async def _worth(reward: Reward, inputs: dict[str, Any], prediction: Any) -> float:
    worth = reward(dict(inputs), dict(prediction.items()))
    return float(await worth if inspect.isawaitable(worth) else worth)


def _advise(module: Any, advice: dict[str, str]) -> None:
    for name, predictor in module.named_predictors():
        hint = advice.get(name)
        if isinstance(hint, str) and hint:
            signature = predictor.signature
            predictor.signature = signature.with_instructions(
                f"{signature.instructions}\n\nA hint from an earlier attempt: {hint}"
            )


async def _advice(
    module: Any, wrap: Wrap, inputs: dict[str, Any], prediction: Any, trace: list[Any], worth: float
) -> dict[str, str]:
    """What the LM makes of the attempt; nothing, when its reply is unusable."""
    names = {id(predictor): name for name, predictor in module.named_predictors()}
    steps = [
        {"module_name": names.get(id(predictor), ""), "inputs": given, "outputs": dict(told)}
        for predictor, given, told in trace
    ]
    try:
        told = await dspy.Predict(OfferFeedback).acall(
            program_code=type(module).__name__,
            modules_defn=inspect_modules(module),
            program_inputs=_shown(inputs),
            program_trajectory=_shown(steps),
            program_outputs=_shown(dict(prediction.items())),
            reward_code=wrap.reward,
            target_threshold=wrap.threshold,
            reward_value=worth,
            module_names=list(names.values()),
        )
    except dspy.AdapterParseError:
        return {}
    return dict(told.advice)


def _shown(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)
