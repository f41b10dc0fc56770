"""Functions that come as source are defined in time, or it is said which was not."""

from pathlib import Path
from typing import Any

import pytest
from tests.support.forked import in_executor, interrupted_when

from anypod.api.dspy_checks import spec_of
from anypod.api.dspy_programs import CreateDspyProgram
from anypod.dspy import spec
from anypod.wire.config import Lm
from anypod.wire.messages import Code
from anypod_worker.kinds.dspy import kind
from anypod_worker.runtime.loading import InvalidProgram

ADD = {"name": "add", "source": "def add(x: int) -> int:\n    return x + 1\n"}
POOL = [Lm("fast", "hosted_vllm/x", "http://127.0.0.1:9/v1")]


def late(name: str, ready: Path) -> str:
    return (
        f"_ = open({str(ready)!r}, 'w').close()\n"
        "_ = all(True for _ in iter(int, 1))\n"
        f"def {name}(inputs: str, outputs: str = '') -> int:\n    return 1\n"
    )


@pytest.mark.parametrize("place", ["tools.1.source", "wrap.reward"])
def test_one_without_end_is_told_by_its_place(tmp_path: Path, place: str) -> None:
    ready = tmp_path / "ready"
    given: dict[str, Any] = {"kind": "dspy", "signature": "q -> a"}
    if place == "wrap.reward":
        wrap = {"name": "BestOfN", "reward": late("reward", ready), "threshold": 1}
        given |= {"wrap": wrap}
    else:
        tools = [ADD, {"name": "wait", "source": late("wait", ready)}]
        given |= {"module": "ReAct", "tools": tools}
    document = spec_of(CreateDspyProgram.model_validate(given))
    code = Code("dspy", {spec.FILE: spec.encode(document)}, document.module.name)
    load = kind.kind(POOL).load

    def body(_baseline: object) -> tuple[str, str | None, bool]:
        with interrupted_when(ready), pytest.raises(InvalidProgram) as raised:
            load(code, "a" * 64, tmp_path)
        found = raised.value
        return found.failure.detail, found.failure.path, found.interrupted

    detail, path, interrupted = in_executor(body).value
    assert (path, interrupted) == (place, True)
    assert "did not end in time" in detail


def test_what_is_wrong_with_a_function_is_told_before_what_is_with_the_lm(tmp_path: Path) -> None:
    tool = {"name": "add", "source": f"import nothing_of_that_name\n{ADD['source']}"}
    given = {"kind": "dspy", "signature": "q -> a", "module": "ReAct"}
    unknown = [Lm("fast", "bedrock/x")]
    for tools, path in ([tool], "tools.0.source"), ([ADD], "lm"):
        document = spec_of(CreateDspyProgram.model_validate({**given, "tools": tools}))
        with pytest.raises(InvalidProgram) as raised:
            kind._plan(document, tmp_path, unknown)
        assert raised.value.failure.path == path
