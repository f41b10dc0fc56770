"""What is done with a program beside running it, as the plan and the entry of an execution."""

import json
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from anypod.dspy import tasks
from anypod.reporting import progress
from anypod.session import Session
from anypod.wire.messages import Failure
from anypod_worker.kinds.dspy import metrics, proposals
from anypod_worker.kinds.dspy.evaluation import Evaluation, Example, size_of
from anypod_worker.kinds.dspy.expected import Expected
from anypod_worker.kinds.dspy.improvement import Improvement
from anypod_worker.kinds.dspy.running import DspyPlan, asking
from anypod_worker.kinds.given import Given
from anypod_worker.runtime import inputs as runtime_inputs
from anypod_worker.runtime.inputs import Rejected
from anypod_worker.runtime.signatures import Description

Data = dict[str, list[Example]]


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """As ``DspyPlan``, of a program that is evaluated or optimised."""

    waits: ClassVar[bool] = True

    plan: DspyPlan
    task: tasks.Task
    judge: metrics.Judge
    expected: Expected | None

    @classmethod
    def of(cls, plan: DspyPlan, task: tasks.Task, folder: Path) -> "TaskPlan":
        """Raises InvalidProgram."""
        if task.optimizer is not None and task.optimizer.name == "MIPROv2":
            proposals.check()
        judge = metrics.judge(task.metric, folder)
        return cls(plan, task, judge, Expected.of(task.metric, plan.models))

    def bind(
        self, inputs: bytes, session: Session | None, given: Given | None = None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Raises Rejected, with the place of the example in its path."""
        data = {
            name: [self._example(f"{name}.{n}", one) for n, one in enumerate(examples)]
            for name, examples in runtime_inputs.parsed(inputs).items()
        }
        return (data, given or Given()), {}

    def _example(self, place: str, one: dict[str, Any]) -> Example:
        expected = one["expected"]
        try:
            values = self.plan.models.bind(json.dumps(one["inputs"]).encode())
            if self.expected is not None:
                expected = self.expected.made(expected)
        except Rejected as wrong:
            raise Rejected(_at(place, wrong.failure)) from None
        return Example(values, expected)

    def entry(self, data: Data, given: Given) -> Awaitable[Any]:
        given.lm_calls = self.task.lm_calls
        return self._done(data, given)

    async def _done(self, data: Data, given: Given) -> dict[str, Any]:
        async with asking(self.plan, given) as lm:
            if self.task.optimizer is None:
                found = await self._evaluated(data["dataset"], lm)
            else:
                found = await self._optimized(self.task.optimizer, data, lm, given)
        return found if size_of(found) <= given.output_limit else tasks.without_items(found)

    async def _optimized(
        self, optimizer: tasks.Optimizer, data: Data, lm: str, given: Given
    ) -> dict[str, Any]:
        trainset = data["trainset"]
        valset = data.get("valset", trainset)
        return await Improvement(
            self.plan, self.judge, self.task, optimizer, lm, given, trainset, valset
        ).run()

    async def _evaluated(self, examples: list[Example], lm: str) -> dict[str, Any]:
        def tell(done: int, score: float) -> None:
            progress(done, len(examples), f"score {score:.3f}")

        evaluation = Evaluation(self.plan, self.judge, self.task, lm, examples, tell)
        return (await evaluation.run()).document()

    def description(self) -> Description:
        """Raises InvalidProgram."""
        return self.plan.description()


def _at(place: str, failure: Failure) -> Failure:
    errors = [{**one, "path": f"{place}.{one['path']}"} for one in failure.errors or ()]
    return msgspec.structs.replace(
        failure, detail=f"{place}.{failure.detail}", path=f"{place}.{failure.path}", errors=errors
    )
