"""What is done with a program of kind ``dspy`` beside running it: evaluating and optimising it.

A task is one more file of the program's code, so an executor loads it as it loads programs, and
its execution is an ordinary one: its inputs are the data, its outputs what was found.
"""

from typing import Any, Final, Literal

import msgspec

from anypod.wire.messages import Code

FILE: Final = "task.json"

MetricName = Literal["exact-match", "contains", "f1", "semantic"]
OptimizerName = Literal["BootstrapFewShot", "MIPROv2", "GEPA"]
METRIC: Final = "metric"
"""The name of the function that a metric's source defines."""


class Metric(msgspec.Struct, frozen=True, omit_defaults=True):
    """A named one of one output, or the source of a function of (example, prediction)."""

    name: MetricName | None = None
    field: str = ""
    source: str = ""


class Optimizer(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    name: OptimizerName
    max_bootstrapped_demos: int = 4
    max_labeled_demos: int = 16
    max_rounds: int = 1
    threshold: float = 1.0
    """An answer is an example for others from this score on."""
    max_metric_calls: int = 200
    candidates: int = 6
    trials: int = 20


class Task(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    metric: Metric
    optimizer: Optimizer | None = None
    """None: it is only evaluated."""
    concurrency: int = 8
    """Examples at once."""
    lm_calls: int | None = None
    """At most so many; None: as many as it takes."""
    max_errors: int = 10
    """So many examples may fail for other reasons than a bad reply."""
    shown: int = 20
    """Examples that the result tells of, the worst first."""


_decode = msgspec.json.Decoder(Task).decode


def with_task(code: Code, task: Task) -> Code:
    """The program's code, to be used like this."""
    text = msgspec.json.encode(task).decode()
    return msgspec.structs.replace(code, files={**code.files, FILE: text})


def without_items(found: dict[str, Any]) -> dict[str, Any]:
    """What a task has found, without the examples that it shows."""
    told = [name for name in ("before", "after") if isinstance(found.get(name), dict)]
    shorter: dict[str, Any] = {name: without_items(found[name]) for name in told}
    if "items" in found:
        shorter["items"] = []
    return found | shorter


def task_of(code: Code) -> Task | None:
    """None for a program that is to be run. Raises msgspec.DecodeError."""
    text = code.files.get(FILE)
    return None if text is None else _decode(text)
