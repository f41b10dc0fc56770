"""How good an answer is: the named metrics, and those that come as source."""

import inspect
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import dspy
from dspy.evaluate import metrics
from pydantic_core import to_jsonable_python

from anypod.dspy import tasks
from anypod_worker.kinds.dspy import functions

Judge = Callable[[Any, Any], Awaitable[Any]]
"""Of an example and a prediction: a number, or what can be made one."""

_SAME = dspy.make_signature(
    {
        "question": (str, dspy.InputField(desc="What was asked.")),
        "expected": (str, dspy.InputField(desc="A right answer.")),
        "answer": (str, dspy.InputField(desc="The answer to be judged.")),
        "means_the_same": (bool, dspy.OutputField()),
    },
    "Does the answer say what the expected one says? Other words for the same are fine; what is "
    "missing, or contradicts it, is not.",
)


def judge(metric: tasks.Metric, folder: Path) -> Judge:
    """Raises InvalidProgram."""
    if metric.name is None:
        file = folder / "metric" / "metric.py"
        function = functions.defined(metric.source, tasks.METRIC, file, "metric.source")
        return _of_source(function)
    return _named(_NAMED[metric.name], metric.field)


def score(value: Any) -> float:
    """Raises TypeError or ValueError for what is no finite number."""
    if isinstance(value, str | bytes):
        raise TypeError(f"the metric gave {value!r}, which is a text and no number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"the metric gave {number}, which is no finite number")
    return number


def least(threshold: float) -> float:
    """As DSPy takes it: 0 would be no threshold to it, and what scores 0 no demo."""
    return threshold or math.nextafter(0.0, -1.0)


def _of_source(function: Callable[..., Any]) -> Judge:
    async def judged(example: Any, prediction: Any) -> Any:
        value = function(_Example(example), _Prediction(prediction))
        return await value if inspect.isawaitable(value) else value

    return judged


class _FieldsFirst:
    """What a metric's function is given: an output such as ``labels`` hides DSPy's own."""

    def __init__(self, plain: Any) -> None:
        vars(self).update(vars(plain), _plain=plain)

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return super().__getattribute__(name)
        plain = self._plain
        return plain[name] if name in plain else getattr(plain, name)


class _Example(_FieldsFirst, dspy.Example):  # type: ignore[misc]
    pass


class _Prediction(_FieldsFirst, dspy.Prediction):  # type: ignore[misc]
    pass


def _named(compare: Callable[[Any, Any, Any], Awaitable[float]], field: str) -> Judge:
    """More than one expected answer is a list of them, where the answer itself is none."""

    async def judged(example: Any, prediction: Any) -> float:
        answer, expected = _plain(prediction[field]), _plain(example[field])
        several = isinstance(expected, list) and not isinstance(answer, list)
        found = 0.0
        for one in expected if several else [expected]:
            found = max(found, await compare(example, one, answer))
        return found

    return judged


def _plain(value: Any) -> Any:
    """As JSON has it: objects of a program's own types are expected like that."""
    return to_jsonable_python(value, fallback=str)


async def _exact(_: Any, expected: Any, answer: Any) -> float:
    if isinstance(expected, str) and isinstance(answer, str):
        return float(metrics.normalize_text(expected) == metrics.normalize_text(answer))
    return float(expected == answer)


async def _contains(_: Any, expected: Any, answer: Any) -> float:
    return float(metrics.normalize_text(str(expected)) in metrics.normalize_text(str(answer)))


async def _f1(_: Any, expected: Any, answer: Any) -> float:
    return float(metrics.f1_score(str(answer), str(expected)))


async def _semantic(example: Any, expected: Any, answer: Any) -> float:
    question = "\n".join(f"{name}: {value}" for name, value in example.inputs().items())
    told = await dspy.Predict(_SAME).acall(
        question=question, expected=str(expected), answer=str(answer)
    )
    return float(told.means_the_same)


_NAMED = {"exact-match": _exact, "contains": _contains, "f1": _f1, "semantic": _semantic}
