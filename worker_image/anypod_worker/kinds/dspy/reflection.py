"""GEPA: the LM reads what the program answered and what was expected, and writes better
instructions.

DSPy's own, but for the calls of the LM, which go through the run's loop, and for what happens when
one fails: the instructions stay as they are for that once, and nothing that was found is lost.
"""

import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

import dspy
from dspy.teleprompt.gepa.instruction_proposal import InstructionProposer
from pydantic_core import to_jsonable_python

from anypod_worker.kinds.dspy import metrics
from anypod_worker.kinds.dspy.bridge import Bridge

log = logging.getLogger(__name__)

MAX_INSTRUCTIONS = 10_000


class _Awaited:
    """A predictor that is called synchronously, in the optimiser's threads."""

    def __init__(self, predictor: Any, bridge: Bridge) -> None:
        self._predictor = predictor
        self._bridge = bridge

    def __call__(self, **inputs: Any) -> Any:
        return self._bridge.wait(self._predictor.acall(**inputs))


class Proposer(InstructionProposer):  # type: ignore[misc]
    def __init__(self, bridge: Bridge) -> None:
        super().__init__(max_chars=MAX_INSTRUCTIONS)
        for name in ("propose", "compress"):
            setattr(self, name, _Awaited(getattr(self, name), bridge))

    def __call__(
        self, candidate: dict[str, str], reflective_dataset: Any, components_to_update: list[str]
    ) -> dict[str, str]:
        proposed: dict[str, str]
        try:
            with dspy.context(lm=dspy.settings.lm.copy(temperature=1.0)):
                proposed = super().__call__(candidate, reflective_dataset, components_to_update)
        except Exception as error:  # noqa: BLE001 - the LM's, or the budget's
            why = type(error).__name__  # its words may be the provider's, and repeat the prompt
            log.warning("no new instructions were proposed: %s", why)
            return {name: candidate[name] for name in components_to_update}
        return proposed


def feedback(example: Any, value: Any) -> Any:
    """The metric's value, with words for the LM: its own, or what was expected."""
    score = metrics.score(value)
    said = getattr(value, "feedback", None)
    if not isinstance(said, str) or not said:
        expected = to_jsonable_python(example.labels().toDict(), fallback=str)
        said = f"It scored {score:g}. Expected was: {json.dumps(expected, ensure_ascii=False)}"
    return dspy.Prediction(score=score, feedback=said)


def compiled(
    student: Any,
    trainset: Sequence[Any],
    valset: Sequence[Any],
    *,
    judge: Callable[[Any, Any], Any],
    bridge: Bridge,
    is_over: Callable[[], bool],
    max_metric_calls: int,
    threads: int,
) -> Any:
    """The student with the best instructions; called in the optimiser's thread."""

    def metric(example: Any, prediction: Any, *_: Any) -> Any:
        return feedback(example, judge(example, prediction))

    optimizer = dspy.GEPA(
        metric=metric,
        max_metric_calls=max_metric_calls,
        instruction_proposer=Proposer(bridge),
        num_threads=threads,
        gepa_kwargs={"stop_callbacks": [lambda _: is_over()]},
    )
    return optimizer.compile(student, trainset=list(trainset), valset=list(valset))
