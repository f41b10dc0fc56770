"""DSPy's own optimisers, on a program of ours, and the state that they find for it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import dspy
import tqdm

from anypod.dspy import tasks, values
from anypod.dspy.spec import PredictorState
from anypod_worker.kinds.dspy import (
    demos,
    failures,
    history,
    metrics,
    modules,
    proposals,
    reflection,
)
from anypod_worker.kinds.dspy.bridge import Bridge
from anypod_worker.kinds.dspy.evaluation import Example
from anypod_worker.runtime.failures import Known

State = dict[str, PredictorState]


@dataclass(slots=True, repr=False)
class Optimization:
    parts: modules.Parts
    judge: metrics.Judge
    task: tasks.Task
    optimizer: tasks.Optimizer
    lm: str
    check: Callable[[], float | None]
    """Seconds that are left; None: as many as it takes. Raises Known when no more may be asked: the
    optimiser ends with what it has."""
    heard: Callable[[float], None]
    """Hears the score of each answer."""
    bridge: Bridge
    _tracker: Any = None

    def __repr__(self) -> str:
        """DSPy logs the metric with each example that fails: without the program and the data."""
        return f"<{self.optimizer.name}>"

    def __deepcopy__(self, _: dict[int, Any]) -> "Optimization":
        """A student and its copies have one."""
        return self

    async def run(self, trainset: Sequence[Example], valset: Sequence[Example]) -> State:
        tqdm.tqdm.monitor_interval = 0  # its monitor would be a thread that is left behind
        self._tracker = dspy.settings.usage_tracker
        student = Student(modules.build(self.parts), self)
        optimize = {
            "BootstrapFewShot": self._bootstrapped,
            "MIPROv2": self._mipro,
            "GEPA": self._gepa,
        }[self.optimizer.name]
        lm = dspy.settings.lm.copy()
        lm.bridge, lm.tracker, lm.left = self.bridge, self._tracker, self.check
        made = [[one.told() for one in examples] for examples in (trainset, valset)]
        with dspy.context(lm=lm, trace=[], max_trace_size=10_000):
            found = await self.bridge.run(lambda: optimize(student, *made))
        return state_of(found.program, self.parts)

    def _bootstrapped(self, student: "Student", trainset: list[Any], _: list[Any]) -> Any:
        said = self.optimizer
        teleprompter = dspy.BootstrapFewShot(
            metric=self._score,
            metric_threshold=metrics.least(said.threshold),
            max_bootstrapped_demos=said.max_bootstrapped_demos,
            max_labeled_demos=said.max_labeled_demos,
            max_rounds=said.max_rounds,
            max_errors=len(trainset) * said.max_rounds + 1,  # they only make fewer demos
        )
        return teleprompter.compile(student, trainset=trainset)

    def _mipro(self, student: "Student", trainset: list[Any], valset: list[Any]) -> Any:
        return proposals.compiled(
            student,
            trainset,
            valset,
            metric=self._score,
            said=self.optimizer,
            threads=self.task.concurrency,
        )

    def _gepa(self, student: "Student", trainset: list[Any], valset: list[Any]) -> Any:
        return reflection.compiled(
            student,
            trainset,
            valset,
            judge=lambda example, answer: reflection.feedback(
                example, self._value(example, answer)
            ),
            bridge=self.bridge,
            is_over=self.is_over,
            max_metric_calls=self.optimizer.max_metric_calls,
            threads=self.task.concurrency,
        )

    def is_over(self) -> bool:
        try:
            self.check()
        except Known:
            return True
        return False

    async def asked(self, program: Any, inputs: dict[str, Any]) -> Any:
        left = self.check()
        conversation = modules.history_field(self.parts.spec)
        inputs = history.filled(self.parts.spec, conversation, inputs, None)
        for predictor in program.predictors():
            predictor.demos = [_without(conversation, demo) for demo in predictor.demos]
        try:
            async with asyncio.timeout(left):
                return await self._tracked(program.acall(**inputs))
        except Exception as error:  # noqa: BLE001 - raised again, without what an LM said
            raise failures.told(error, self.lm) from None

    async def _tracked(self, asking: Awaitable[Any]) -> Any:
        """Threads of DSPy's have copies of what counts tokens."""
        with dspy.context(usage_tracker=self._tracker):
            return await asking

    def _value(self, example: Any, prediction: Any) -> Any:
        return self.bridge.wait(self._judged(example, prediction))

    def _score(self, example: Any, prediction: Any, _: Any = None) -> float:
        return metrics.score(self._value(example, prediction))

    async def _judged(self, example: Any, prediction: Any) -> Any:
        value = await self._tracked(self.judge(example, prediction))
        self.heard(metrics.score(value))
        return value


class Student(dspy.Module):  # type: ignore[misc]
    """The program as optimisers call it: synchronously, in their thread."""

    def __init__(self, program: Any, optimization: Optimization) -> None:
        super().__init__()
        self.program = program
        self._optimization = optimization

    def forward(self, **inputs: Any) -> Any:
        optimization = self._optimization
        return optimization.bridge.wait(optimization.asked(self.program, inputs))


# what was found


def state_of(program: Any, parts: modules.Parts) -> State:
    """What differs from a program without a state."""
    bare = parts.with_state({}).module
    own = {name: one.signature.instructions for name, one in bare.named_predictors()}
    found = {
        name: PredictorState(_differs(predictor, own[name]), _demos(predictor, parts))
        for name, predictor in program.named_predictors()
    }
    return {name: state for name, state in found.items() if state != PredictorState()}


def _differs(predictor: Any, own: str) -> str | None:
    instructions: str = predictor.signature.instructions
    return None if instructions == own else instructions


def _without(conversation: str, demo: Any) -> Any:
    """A conversation is what came before a question, and shows nothing of how to answer it."""
    return demo.without(conversation) if conversation in demo else demo


def _demos(predictor: Any, parts: modules.Parts) -> list[dict[str, Any]]:
    """Those that show at least one output of the predictor, and fit the fields' types."""
    signature, conversation = predictor.signature, modules.history_field(parts.spec)
    fields = demos.Fields(parts.spec, parts.own, signature)
    shown = [
        {
            name: values.as_json(value)
            for name, value in _without(conversation, demo).items()
            if value is not None and (name in signature.fields or name == "augmented")
        }
        for demo in predictor.demos
    ]
    fitted = [demo for demo in map(fields.fitted, shown) if demo is not None]
    return [demo for demo in fitted if demo.keys() & signature.output_fields.keys()]
