"""What a metric that comes as source is given."""

import asyncio
import copy
from pathlib import Path
from typing import Any

import dspy
import pytest

from anypod.dspy import tasks
from anypod_worker.kinds.dspy import metrics
from anypod_worker.kinds.dspy.evaluation import Example


def judged(folder: Path, body: str, example: Any, prediction: Any) -> Any:
    source = f"def metric(example, prediction):\n    return {body}\n"
    judge = metrics.judge(tasks.Metric(source=source), folder)
    return asyncio.run(_awaited(judge(example, prediction)))


async def _awaited(judging: Any) -> Any:
    return await judging


@pytest.mark.parametrize("name", ["labels", "inputs", "completions", "with_inputs", "without"])
def test_a_field_is_an_attribute_whatever_dspy_calls_its_own(tmp_path: Path, name: str) -> None:
    example = Example({"question": "q"}, {name: ["a"]}).told()
    right = dspy.Prediction.from_completions([{name: ["a"]}])
    wrong = dspy.Prediction.from_completions([{name: ["b"]}])
    same = f"example.{name} == prediction.{name} == ['a']"
    assert judged(tmp_path, same, example, right) is True
    assert judged(tmp_path, same, example, wrong) is False


def test_it_is_what_dspy_gives_in_all_else(tmp_path: Path) -> None:
    example = Example({"question": "q"}, {"inputs": "i", "answer": "a"}).told()
    prediction = dspy.Prediction(answer="a", score=0.5)
    for one in (
        "example.labels().toDict() == {'inputs': 'i', 'answer': 'a'}",
        "(len(example), list(example)) == (3, ['question', 'inputs', 'answer'])",
        "prediction['answer'] == prediction.get('answer') == prediction.answer == 'a'",
        "prediction >= 0.5 and float(prediction) == 0.5 and 'score' in prediction",
        "prediction.missing if hasattr(prediction, 'missing') else True",
    ):
        assert judged(tmp_path, one, example, prediction) is True, one
    kept: list[Any] = [judged(tmp_path, "prediction", example, prediction)]
    assert isinstance(kept[0], dspy.Prediction)
    assert copy.deepcopy(kept) == [prediction]


def test_what_is_expected_may_have_any_name() -> None:
    told = Example({"question": "q"}, {"base": "b", "self": "s"}).told()
    assert told.toDict() == {"question": "q", "base": "b", "self": "s"}
    assert told.labels().toDict() == {"base": "b", "self": "s"}


@pytest.mark.parametrize("value", ["1", "yes", b"1", None, float("nan")])
def test_what_is_no_number_is_no_score(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        metrics.score(value)


def test_numbers_and_truths_are_scores() -> None:
    values = [True, False, 0.5, 2, dspy.Prediction(score=0.25)]
    assert [metrics.score(value) for value in values] == [1.0, 0.0, 0.5, 2.0, 0.25]
