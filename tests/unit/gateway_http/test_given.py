"""Programs as they come, before a worker looks at them."""

from typing import Any

import pytest

from anypod.api.dspy_programs import CreateDspyProgram
from anypod.api.problems import AnyPodError
from anypod.resources import WorkerPoolSpec
from anypod_gateway.given import named

TYPES = {"Item": {"fields": [{"name": "a"}, {"name": "b", "default": ["", "\udc80"]}]}}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"types": TYPES}, "types.Item.fields.1.default.1"),
        ({"state": {"self": {"demos": [{}, {"q": "\ud800"}]}}}, "state.self.demos.1.q"),
        ({"state": {"self": {"demos": [{"q": {"\ud800": 1}}]}}}, "state.self.demos.0.q.\ufffd"),
    ],
)
def test_text_that_is_none_is_told_by_its_place(fields: dict[str, Any], path: str) -> None:
    given = CreateDspyProgram.model_validate({"kind": "dspy", "signature": "q -> a", **fields})
    with pytest.raises(AnyPodError, match="unpaired surrogate") as caught:
        named(WorkerPoolSpec(), given)
    assert caught.value.problem.path == path


LMS = [
    {"name": "free", "model": "hosted_vllm/x"},
    {"name": "short", "model": "hosted_vllm/x", "maxTokens": 100},
    {"name": "shorter", "model": "hosted_vllm/x", "maxTokens": 50},
]


@pytest.mark.parametrize(
    ("pool", "lm", "most"),
    [
        ({"lms": LMS}, {"name": "short", "maxTokens": 101}, 100),
        ({"lms": LMS[1:]}, {"maxTokens": 101}, 100),
        ({"lms": LMS, "defaultLm": "shorter"}, {"maxTokens": 51}, 50),
        ({"lms": LMS}, {"maxTokens": 101}, None),
        ({"lms": LMS}, {"name": "short", "maxTokens": 100}, None),
        ({"lms": LMS}, "short", None),
    ],
)
def test_a_program_says_no_longer_answer_than_its_pool(
    pool: dict[str, Any], lm: Any, most: int | None
) -> None:
    given = CreateDspyProgram.model_validate({"kind": "dspy", "signature": "q -> a", "lm": lm})
    if most is None:
        assert named(WorkerPoolSpec.model_validate(pool), given).revision
        return
    with pytest.raises(AnyPodError, match=f"the pool allows its LM '.*' {most}$") as caught:
        named(WorkerPoolSpec.model_validate(pool), given)
    problem = caught.value.problem
    assert (problem.type, problem.path) == ("invalid-program", "lm.maxTokens")
