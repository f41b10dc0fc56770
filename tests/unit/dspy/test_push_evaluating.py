"""A notebook's examples and metric, as a pool takes them."""

import re
from collections.abc import Callable
from datetime import date
from typing import Any

import dspy
import pytest
from pydantic import BaseModel

from anypod.api.dspy_checks import check_function
from anypod.dspy.push import CannotBeServed, examples, metric

ARTICLES = re.compile("a|the")
LEAST = 0.5


class Line(BaseModel):
    product: str
    on: date


def lenient(example: Any, pred: Any, trace: Any = None) -> float:
    same = re.sub(r"\W", "", example.answer) == re.sub(r"\W", "", pred.answer)
    return 1.0 if same else LEAST


def metric_named(name: str) -> Callable[..., Any]:
    return {"lenient": lenient, "of_its_name": of_its_name.metric, "awaited": awaited}[name]


class of_its_name:  # noqa: N801
    @staticmethod
    def metric(example: Any, prediction: Any) -> bool:
        return bool(example.answer == prediction.answer)


async def awaited(example: Any, prediction: Any) -> float:
    return float(example.answer in prediction.answer)


def test_examples_are_inputs_and_what_is_expected() -> None:
    given = dspy.Example(text="t", line=Line(product="pen", on=date(2030, 1, 31)))
    assert examples([given.with_inputs("text")]) == [
        {"inputs": {"text": "t"}, "expected": {"line": {"product": "pen", "on": "2030-01-31"}}}
    ]


def test_examples_that_say_too_little_are_refused_together() -> None:
    given: list[Any] = [
        dspy.Example(q="a", a="b"),
        dspy.Example(q=object(), a="b").with_inputs("q"),
        {"q": "a"},
    ]
    with pytest.raises(CannotBeServed) as refused:
        examples(given)
    places = [one.where for one in refused.value.refusals]
    assert places == ["examples[0]", "examples[1]['q']", "examples[2]"]
    assert "with_inputs" in str(refused.value)


@pytest.mark.parametrize("name", ["lenient", "of_its_name", "awaited"])
def test_a_metric_is_source_whatever_its_name(name: str) -> None:
    source = metric(metric_named(name))["source"]
    check_function(source, "metric", "metric.source")
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    told = namespace["metric"](dspy.Example(answer="b"), dspy.Prediction(answer="b"))
    if name == "awaited":
        with pytest.raises(StopIteration) as ended:
            told.send(None)
        told = ended.value.value
    assert told == 1


def needs_more(example: Any, prediction: Any, trace: Any) -> bool:
    return bool(trace)


def takes_an_object(example: Any, prediction: Any) -> bool:
    return bool(ARTICLES.match(prediction.answer))


REFUSED: list[tuple[Callable[..., Any], str]] = [
    (needs_more, "missing a required argument: 'trace'"),
    (takes_an_object, "'ARTICLES' is a Pattern"),
    (lambda example, prediction: True, "it is a lambda"),
]


@pytest.mark.parametrize(("function", "said"), REFUSED)
def test_what_cannot_judge_apart_is_refused(function: Callable[..., Any], said: str) -> None:
    with pytest.raises(CannotBeServed, match=said):
        metric(function)
