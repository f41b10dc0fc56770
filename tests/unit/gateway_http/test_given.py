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
