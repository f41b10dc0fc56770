"""Asking a program for many examples, some at a time, and judging what it says.

A reply that cannot be used scores 0: that is a property of the program. An example that fails
otherwise scores 0 too and is counted, and too many of those end it, as does what no other example
would be spared.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import dspy

from anypod.dspy import tasks
from anypod_worker.kinds.dspy import failures, history, metrics
from anypod_worker.kinds.dspy.running import DspyPlan, predicted
from anypod_worker.runtime.failures import Known

_ENDS_ALL = frozenset({"lm-auth", "budget-spent"})
_MOST_SHOWN = 4 * 1024
"""Bytes of an example's outputs in the result."""
_MOST_SHOWN_OF_ALL = 128 * 1024
"""An optimisation tells of two evaluations, and a store's value is 1 MiB: what else is found has to
have its place."""


@dataclass(frozen=True, slots=True)
class Example:
    values: dict[str, Any]
    """The inputs, as the program takes them."""
    expected: dict[str, Any]

    def told(self) -> Any:
        """As DSPy and metrics know it."""
        return dspy.Example({**self.values, **self.expected}).with_inputs(*self.values)


@dataclass(frozen=True, slots=True)
class Judged:
    index: int
    score: float
    outputs: dict[str, Any] | None = None
    error: str = ""

    def document(self) -> dict[str, Any]:
        told: dict[str, Any] = {"index": self.index, "score": self.score}
        if self.error:
            told["error"] = self.error
        size = size_of(self.outputs)
        if size > _MOST_SHOWN:
            return {**told, "outputsBytes": size}
        return {**told, "outputs": self.outputs}


def size_of(document: Any) -> int:
    """Bytes as JSON."""
    return len(json.dumps(document, ensure_ascii=False).encode(errors="replace"))


@dataclass(slots=True)
class Evaluation:
    plan: DspyPlan
    judge: metrics.Judge
    task: tasks.Task
    lm: str
    """The name of the LM that is asked."""
    examples: Sequence[Example]
    tell: Callable[[int, float], None]
    """Hears how many are judged, and the score so far."""
    judged: list[Judged] = field(default_factory=list)
    errors: int = 0
    _total: float = 0.0
    """Of the scores so far: it is told with each of thousands of examples."""

    @property
    def score(self) -> float:
        return self._total / len(self.judged)

    def document(self) -> dict[str, Any]:
        return {
            "score": round(self.score, 6),
            "count": len(self.judged),
            "errors": self.errors,
            "items": list(self._items()),
        }

    def _items(self) -> Iterator[dict[str, Any]]:
        """The worst, as many as there is place for."""
        worst = sorted(self.judged, key=lambda one: (one.score, one.index))
        left = _MOST_SHOWN_OF_ALL
        for one in worst[: self.task.shown]:
            item = one.document()
            left -= size_of(item)
            if left < 0:
                return
            yield item

    async def run(self) -> "Evaluation":
        """All of them. Raises what ends it."""
        rest = enumerate(self.examples)
        at_once = min(self.task.concurrency, len(self.examples))
        working = [asyncio.ensure_future(self._work(rest)) for _ in range(at_once)]
        try:
            await asyncio.gather(*working)
        finally:
            for one in working:
                one.cancel()
            await asyncio.gather(*working, return_exceptions=True)
        return self

    async def _work(self, rest: Iterator[tuple[int, Example]]) -> None:
        for index, example in rest:
            judged = await self._one(index, example)
            self.judged.append(judged)
            self._total += judged.score
            self.tell(len(self.judged), self.score)

    async def _one(self, index: int, example: Example) -> Judged:
        outputs = None
        try:
            prediction = await self._asked(example)
            outputs = self.plan.models.told(prediction)
            value = await self.judge(example.told(), prediction)
            return Judged(index, metrics.score(value), outputs)
        except Exception as error:  # noqa: BLE001 - the LM's, a tool's or the metric's
            ends_all = failures.is_of_all(error)
            return self._failed(index, outputs, failures.told(error, self.lm), ends_all=ends_all)

    async def _asked(self, example: Example) -> Any:
        document, conversation = self.plan.parts.spec, self.plan.models.history
        return await predicted(
            self.plan, history.filled(document, conversation, example.values, None)
        )

    def _failed(
        self, index: int, outputs: dict[str, Any] | None, error: Exception, *, ends_all: bool
    ) -> Judged:
        kind = error.failure.type if isinstance(error, Known) else ""
        if kind != "model-output-unusable":
            self.errors += 1
            if ends_all or kind in _ENDS_ALL or self.errors > self.task.max_errors:
                raise error
        return Judged(index, 0.0, outputs, failures.named(error, self.lm))
