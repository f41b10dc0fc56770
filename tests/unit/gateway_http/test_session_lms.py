"""A session's choice of an LM, when the pool is another one than it was."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from anypod.api.problems import AnyPodError
from anypod.dspy.spec import LmChoice
from anypod.resources import WorkerPoolSpec
from anypod_gateway.handlers.runs import lm_of

LMS = [
    {"name": "fast", "model": "hosted_vllm/fast"},
    {"name": "short", "model": "hosted_vllm/short", "maxTokens": 100},
]
POOL = WorkerPoolSpec.model_validate({"lms": LMS})


@dataclass
class Changed:
    """A pool that a session chose an LM of."""

    chosen: LmChoice
    spec: WorkerPoolSpec = field(default_factory=lambda: POOL)

    @property
    def sessions(self) -> "Changed":
        return self

    async def lm(self, _: str) -> LmChoice:
        return self.chosen


class Open:
    async def may_see_replies(self, *_: Any) -> bool:
        return True


async def asked(chosen: LmChoice, run: LmChoice | None = None) -> LmChoice | None:
    services: Any = Open()
    pool: Any = Changed(chosen)
    call: Any = None
    return (await lm_of(services, pool, call, "s1", run))[0]


async def test_an_lm_that_is_gone_is_told_as_the_sessions_choice() -> None:
    with pytest.raises(AnyPodError) as caught:
        await asked(LmChoice("slow"), LmChoice(temperature=0.5))
    problem = caught.value.problem
    assert (problem.type, problem.path) == ("bad-request", "lm")
    assert "the session chose an LM that is gone" in problem.detail
    assert "it has: fast, short" in problem.detail


async def test_a_run_may_choose_another_meanwhile() -> None:
    found = await asked(LmChoice("slow", temperature=0.5), LmChoice("fast"))
    assert found == LmChoice("fast", temperature=0.5)


@pytest.mark.parametrize(
    ("chosen", "run"),
    [
        (LmChoice("short", max_tokens=101), None),
        (LmChoice("short"), LmChoice(max_tokens=101)),
        (LmChoice(max_tokens=101), LmChoice("short")),
    ],
)
async def test_a_session_and_its_run_say_no_longer_answer_than_the_pool(
    chosen: LmChoice, run: LmChoice | None
) -> None:
    with pytest.raises(AnyPodError) as caught:
        await asked(chosen, run)
    problem = caught.value.problem
    assert (problem.type, problem.path) == ("bad-request", "lm.maxTokens")
    assert "allows its LM 'short' 100" in problem.detail
    found = await asked(chosen, LmChoice(max_tokens=100))
    assert found is not None
    assert found.max_tokens == 100
