"""Optimising a program: its score, what an optimiser finds, and the score with that.

The two evaluations are paid from the budget like all else. What the second will take is known from
the first, and is set aside: when the rest is spent, the optimiser ends with what it has found.
What was found and paid for is told even if it could not be scored again, though it be that the
process has died over it.
"""

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from anypod.dspy import tasks
from anypod.reporting import progress
from anypod.wire.messages import Failure
from anypod_worker.kinds.dspy import failures, metrics, modules
from anypod_worker.kinds.dspy.bridge import Bridge
from anypod_worker.kinds.dspy.evaluation import Evaluation, Example, size_of
from anypod_worker.kinds.dspy.optimizers import Optimization, State
from anypod_worker.kinds.dspy.running import DspyPlan
from anypod_worker.kinds.given import Given
from anypod_worker.runtime import outputs
from anypod_worker.runtime.failures import Known

_MARGIN = 1.25
"""What is set aside for the second evaluation, of what the first one took."""
_SPARE_PART = 0.1
"""Of the time: so much before the deadline the second evaluation has to have ended, to tell what
was found; and so much longer than the first it may take."""
_MOST_SPARE_SECONDS = 5.0


@dataclass(slots=True)
class Improvement:
    plan: DspyPlan
    judge: metrics.Judge
    task: tasks.Task
    optimizer: tasks.Optimizer
    lm: str
    """The name of the LM that is asked."""
    given: Given
    trainset: Sequence[Example]
    valset: Sequence[Example]
    _until: float = math.inf
    """When the second evaluation has to begin."""
    _end: float | None = None
    """When it has to have ended."""
    _tried: int = 0
    _good: int = 0
    _total: float = 0.0
    """Of the scores of what the optimiser has tried."""

    async def run(self) -> dict[str, Any]:
        began, calls = time.monotonic(), self.given.lm_calls
        before = await self._evaluated(self.plan, "before", 0)
        kept = self._set_aside(began, calls)
        state = await self._optimized()
        if self.given.lm_calls is not None:
            self.given.lm_calls += kept
        found = {
            "optimizer": self.optimizer.name,
            "before": before,
            "after": None,
            "state": msgspec.to_builtins(state),
        }
        self.given.keep(self._encoded(found))
        return {**found, **await self._scored_again(state)}

    def _encoded(self, found: dict[str, Any]) -> bytes:
        limit = self.given.output_limit
        shown = found if size_of(found) <= limit else tasks.without_items(found)
        return outputs.encode(shown, limit=limit)

    @property
    def _attempts(self) -> int:
        """Answers that the optimiser judges, about."""
        said = self.optimizer
        if said.name == "GEPA":
            return said.max_metric_calls
        if said.name == "MIPROv2":
            return said.candidates * len(self.trainset) + said.trials * len(self.valset)
        return len(self.trainset) * self.optimizer.max_rounds

    def _tell(self, done: int, text: str) -> None:
        progress(done, 2 * len(self.valset) + self._attempts, text)

    async def _evaluated(self, plan: DspyPlan, stage: str, offset: int) -> dict[str, Any]:
        def tell(done: int, score: float) -> None:
            self._tell(offset + done, f"{stage}: score {score:.3f}")

        evaluation = Evaluation(plan, self.judge, self.task, self.lm, self.valset, tell)
        return (await evaluation.run()).document()

    async def _scored_again(self, state: State) -> dict[str, Any]:
        """The score with the state, or the reason why there is none."""
        offset = len(self.valset) + self._attempts
        try:
            async with asyncio.timeout_at(self._end) as limit:
                return {"after": await self._evaluated(self._with(state), "after", offset)}
        except Exception as error:  # noqa: BLE001 - whatever it is, the state has been paid for
            late = limit.expired()
            why = "it did not end in time" if late else failures.named(error, self.lm)
            return {"after": None, "reason": why}

    def _set_aside(self, began: float, calls: int | None) -> int:
        """Time, and LM calls, which are returned, for the second evaluation. Raises Known if not
        even those are left."""
        if seconds := self.given.seconds:
            took = time.monotonic() - began
            spare = min(seconds * _SPARE_PART, _MOST_SPARE_SECONDS)
            self._end = began + seconds - spare
            self._until = self._end - spare - took * _MARGIN
            if self._until <= began + took:
                raise _too_few(f"{took:.0f} of the {seconds:.0f} seconds")
        left = self.given.lm_calls
        if calls is None or left is None:
            return 0
        kept = math.ceil((calls - left) * _MARGIN)
        if kept > left:
            raise _too_few(f"{calls - left} of the {calls} LM calls")
        self.given.lm_calls = left - kept
        return kept

    async def _optimized(self) -> State:
        optimization = Optimization(
            parts=self.plan.parts,
            judge=self.judge,
            task=self.task,
            optimizer=self.optimizer,
            lm=self.lm,
            check=self._check,
            heard=self._heard,
            bridge=Bridge(),
        )
        try:
            return await optimization.run(self.trainset, self.valset)
        except Exception:
            if not optimization.is_over():
                raise
            return self.plan.parts.spec.state  # it had found nothing yet

    def _check(self) -> float | None:
        """Seconds until the optimiser has to end. Raises Known when it has to."""
        if self.given.lm_calls is not None and self.given.lm_calls <= 0:
            raise _spent("the LM calls that are left are needed to evaluate again")
        left = self._until - time.monotonic()
        if left <= 0:
            raise _spent("the time that is left is needed to evaluate again")
        return None if left == math.inf else left

    def _heard(self, score: float) -> None:
        """In the loop. What is told is the mean: an optimiser tries good and bad candidates, and
        which of them is which it knows last."""
        self._good += score >= self.optimizer.threshold
        self._tried += 1
        self._total += score
        done = len(self.valset) + min(self._tried, self._attempts)
        mean = self._total / self._tried
        self._tell(done, f"optimising: score {mean:.3f}, {self._good} of {self._tried} good enough")

    def _with(self, state: State) -> DspyPlan:
        changed = self.plan.parts.with_state(state)
        modules.check(changed)
        return replace(self.plan, parts=changed)


def _too_few(took: str) -> Known:
    return _spent(
        f"evaluating took {took} of the budget: too few are left to optimise and to evaluate again"
    )


def _spent(why: str) -> Known:
    return Known(Failure("budget-spent", why))
