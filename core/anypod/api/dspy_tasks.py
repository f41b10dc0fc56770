"""Evaluating and optimising a program of kind ``dspy``, as clients ask for it."""

from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from anypod.api.documents import RequestModel
from anypod.api.dspy_checks import Refused, check_function
from anypod.api.dspy_programs import LmGiven, Name, Source, by_name
from anypod.api.programs import Sendable, Text
from anypod.dspy import tasks
from anypod.dspy.spec import Spec

MAX_EXAMPLES = 10_000
MAX_LM_CALLS = 1_000_000
_PLAIN = ("str", "Any")

ExampleField = Annotated[Text, StringConstraints(min_length=1, max_length=100)]


class ExampleGiven(RequestModel):
    """Inputs, and what should come out."""

    inputs: dict[ExampleField, Sendable]
    expected: dict[ExampleField, Sendable] = Field(
        {}, description="Outputs by name, and what else a metric of one's own looks at."
    )


Examples = Annotated[list[ExampleGiven], Field(min_length=1, max_length=MAX_EXAMPLES)]


class MetricModel(RequestModel):
    """How good an answer is: a number, mostly from 0 to 1, or true or false."""

    name: tasks.MetricName | None = Field(None, description="Or give `source`.")
    field: Name | None = Field(
        None, description="The output that is compared; of one output, that."
    )
    source: Source | None = Field(
        None,
        description="One function `metric(example, prediction)`; fields are attributes of both.",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> "MetricModel":
        if (self.name is None) == (self.source is None):
            raise ValueError("give either name or source")
        if self.source is not None and self.field is not None:
            raise ValueError("field is of named metrics")
        return self


MetricGiven = Annotated[
    MetricModel, BeforeValidator(by_name, json_schema_input_type=tasks.MetricName | MetricModel)
]


class Budget(RequestModel):
    """What it may take at most."""

    seconds: float | None = Field(
        None, gt=0, le=86_400, allow_inf_nan=False, description="Else the pool's longest timeout."
    )
    lm_calls: int | None = Field(None, ge=1, le=MAX_LM_CALLS)


class _Task(RequestModel):
    metric: MetricGiven
    lm: LmGiven | None = Field(None, description="Over what the program says.")
    concurrency: int = Field(8, ge=1, le=64, description="Examples at once.")
    budget: Budget = Budget()
    max_errors: int = Field(
        10,
        ge=0,
        le=MAX_EXAMPLES,
        description="Examples that may fail by an error of the LM, a tool or the metric. One more "
        "ends the job. A reply that cannot be used is no error: it scores 0.",
    )
    shown: int = Field(20, ge=0, le=200, description="Examples in the result, the worst first.")

    def task(self, spec: Spec, optimizer: tasks.Optimizer | None = None) -> tasks.Task:
        """Raises Refused."""
        if optimizer is not None and optimizer.name != "BootstrapFewShot" and spec.tools:
            why = f"{optimizer.name} rewrites instructions, and an agent's name its tools"
            raise Refused("optimizer", why)
        return tasks.Task(
            metric=_metric(self.metric, spec),
            optimizer=optimizer,
            concurrency=self.concurrency,
            lm_calls=self.budget.lm_calls,
            max_errors=self.max_errors,
            shown=self.shown,
        )


class EvaluateProgram(_Task):
    """How good a program is on examples."""

    dataset: Examples


class OptimizerModel(RequestModel):
    """What looks for better demos or instructions."""

    name: tasks.OptimizerName
    max_bootstrapped_demos: int | None = Field(
        None, ge=0, le=16, description="Demos that the program made. 4."
    )
    max_labeled_demos: int | None = Field(
        None, ge=0, le=32, description="Demos as they were given. 16; of MIPROv2 4."
    )
    threshold: float | None = Field(
        None, allow_inf_nan=False, description="The score that makes an answer a demo. 1."
    )
    max_rounds: int | None = Field(
        None, ge=1, le=10, description="Of BootstrapFewShot: attempts at each example. 1."
    )
    candidates: int | None = Field(
        None, ge=2, le=20, description="Of MIPROv2: sets of demos, and instructions. 6."
    )
    trials: int | None = Field(
        None, ge=1, le=200, description="Of MIPROv2: of one with the other. 20."
    )
    max_metric_calls: int | None = Field(
        None, ge=1, le=100_000, description="Of GEPA: answers that it judges, about. 200."
    )

    @model_validator(mode="after")
    def _own_arguments(self) -> "OptimizerModel":
        if strange := self.model_fields_set - _ARGUMENTS[self.name] - {"name"}:
            raise ValueError(f"{self.name} has no {to_camel(min(strange))}")
        return self

    def chosen(self) -> tasks.Optimizer:
        said = {name: v for name, v in self.model_dump().items() if v is not None}
        if self.name == "MIPROv2":
            said.setdefault("max_labeled_demos", 4)
        return tasks.Optimizer(**said)


_DEMOS = {"max_bootstrapped_demos", "max_labeled_demos", "threshold"}
_ARGUMENTS: dict[str, set[str]] = {
    "BootstrapFewShot": {*_DEMOS, "max_rounds"},
    "MIPROv2": {*_DEMOS, "candidates", "trials"},
    "GEPA": {"max_metric_calls"},
}

OptimizerGiven = Annotated[
    OptimizerModel,
    BeforeValidator(by_name, json_schema_input_type=tasks.OptimizerName | OptimizerModel),
]


class OptimizeProgram(_Task):
    """Make a program better by examples."""

    optimizer: OptimizerGiven
    trainset: Examples
    valset: Examples | None = Field(
        None, description="What it is evaluated on, before and after; else the trainset."
    )


def _metric(given: MetricModel, spec: Spec) -> tasks.Metric:
    if given.source is not None:
        check_function(given.source, tasks.METRIC, "metric.source", takes=2)
        return tasks.Metric(source=given.source)
    outputs = {field.name: field.type for field in spec.signature.outputs}
    field = given.field or next(iter(outputs))
    if given.field is None and len(outputs) > 1:
        raise Refused("metric.field", f"say which output: {', '.join(outputs)}")
    if field not in outputs:
        raise Refused("metric.field", f"no output {field!r}; there are: {', '.join(outputs)}")
    if given.name in ("contains", "f1") and outputs[field] not in _PLAIN:
        raise Refused("metric", f"{given.name} is for outputs of type str")
    return tasks.Metric(given.name, field)
