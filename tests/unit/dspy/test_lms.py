"""Which LM a run asks, what that costs, and which LMs cannot be asked at all."""

import pytest
from dspy.clients import model_metadata

from anypod.dspy.spec import LmChoice
from anypod.wire.config import Lm
from anypod_worker.kinds.dspy import catalog, lms
from anypod_worker.kinds.given import Given
from anypod_worker.runtime.failures import Known
from anypod_worker.runtime.loading import InvalidProgram

FAST = Lm("fast", "hosted_vllm/x", "http://127.0.0.1:9/v1")
SLOW = Lm("slow", "openai/gpt-4o-mini", input_price=1, output_price=10)


def test_later_choices_go_over_earlier_ones() -> None:
    lm, choice = lms.chosen(
        [FAST, SLOW], LmChoice("slow", 0.5, 10), None, LmChoice(temperature=0.0)
    )
    assert lm is SLOW
    assert choice == LmChoice("slow", 0.0, 10)


def test_the_first_is_the_default() -> None:
    assert lms.chosen([FAST, SLOW], None)[0] is FAST


def test_one_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InvalidProgram, match="'gone'; it has: fast, slow"):
        lms.chosen([FAST, SLOW], LmChoice("gone"))
    with pytest.raises(InvalidProgram, match="declares no LMs"):
        lms.chosen([], None)


def test_prices_make_the_cost() -> None:
    meter = lms.Meter(SLOW)
    meter.calls = 2
    meter.priced(99.0)
    meter.read({"a": [{"prompt_tokens": 100, "completion_tokens": 20}], "b": [{}]})
    usage = meter.total()
    assert (usage.lm, usage.calls, usage.prompt_tokens, usage.completion_tokens) == (
        "slow", 2, 100, 20
    )  # fmt: skip
    assert usage.cost == pytest.approx(0.0003)


def test_an_unknown_price_is_no_cost() -> None:
    assert lms.Meter(FAST).total().cost is None


@pytest.mark.parametrize(
    ("lm", "choice"),
    [
        (Lm("odd", "no_such_provider/x"), LmChoice()),
        (Lm("azure", "azure/x", "https://azure.example"), LmChoice()),
        (Lm("thinker", "openai/o3-mini"), LmChoice(temperature=0.2)),
        (Lm("empty", "openai/"), LmChoice()),
    ],
)
def test_what_dspy_cannot_ask_by_itself_is_refused(lm: Lm, choice: LmChoice) -> None:
    with pytest.raises(InvalidProgram, match="cannot be asked") as caught:
        lms.check(lm, choice)
    assert caught.value.failure.path == "lm"


@pytest.mark.parametrize(
    "model", ["openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-flash",
              "hosted_vllm/any", "groq/llama-3.3-70b-versatile"]
)  # fmt: skip
def test_what_it_can_is_not(model: str) -> None:
    lms.check(Lm("some", model), LmChoice())


@pytest.mark.parametrize("choice", [LmChoice(temperature=0.5), LmChoice(max_tokens=500)])
async def test_what_a_run_says_and_the_lm_does_not_take_is_refused(choice: LmChoice) -> None:
    thinker = Lm("thinker", "openai/gpt-5-mini")
    with pytest.raises(Known) as caught:
        lms.made(thinker, choice, Given(), lms.Meter(thinker))
    failure = caught.value.failure
    assert (failure.type, failure.path) == ("bad-request", "lm")
    assert "temperature=1.0" in failure.detail


async def test_nobody_says_a_longer_answer_than_the_pool_does() -> None:
    short = Lm("short", "hosted_vllm/x", "http://127.0.0.1:9/v1", max_tokens=100)
    with pytest.raises(Known) as caught:
        lms.made(short, LmChoice(max_tokens=101), Given(), lms.Meter(short))
    failure = caught.value.failure
    assert (failure.type, failure.path) == ("bad-request", "lm.maxTokens")
    assert "allows its LM 'short' 100" in failure.detail
    for said, asked in ((None, 100), (99, 99), (100, 100)):
        made = lms.made(short, LmChoice(max_tokens=said), Given(), lms.Meter(short))
        assert made.kwargs["max_tokens"] == asked


def test_what_is_looked_up_before_a_run_is_not_sought_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    catalog.prepare()
    load, looked = model_metadata._load, []
    monkeypatch.setattr(model_metadata, "_load", lambda: looked.append(1) or load())
    lm = Lm("own", "hosted_vllm/a model that nobody has looked up", "http://127.0.0.1:9/v1")
    for _ in range(2):
        lms.look_up(lm)
        assert len(looked) == 1


def test_one_that_cannot_be_asked_is_looked_up_in_vain() -> None:
    lms.look_up(Lm("odd", "no_such_provider/x"))
