"""Evaluating a program is a job that asks it for each example and judges what it says."""

import json
import re
import threading
import urllib.error
import urllib.request
from typing import Any

import pytest
from tests.integration.dspy.test_runs import put
from tests.support.lm_server import Asked, LmServer, Reply, chat

from anypod.client import (
    AnyPodError,
    AsyncClient,
    Client,
    InvalidInputs,
    InvalidProgram,
    LmFailed,
    Refused,
)

SECONDS = 120
CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo"}
DATASET = [
    {"inputs": {"question": f"The capital of {country}?"}, "expected": {"answer": capital}}
    for country, capital in CAPITALS.items()
]


def knows(*countries: str) -> Any:
    """A model that knows the capitals of these alone."""

    def script(asked: Asked) -> str:
        country = re.findall(r"The capital of (\w+)\?", asked.last)[-1]
        return chat(answer=CAPITALS[country] if country in countries else "I do not know.")

    return script


def test_a_program_is_scored_on_examples(client: Client, lm: LmServer) -> None:
    put(client, "capitals")
    lm.script = knows("France", "Italy", "Spain")
    job = client.evaluate("capitals", DATASET, "exact-match", labels={"for": "test"})
    answer = job.result(SECONDS)
    assert answer.outputs["score"] == 0.75
    assert answer.outputs["count"] == 4
    assert answer.outputs["errors"] == 0
    worst = answer.outputs["items"][0]
    assert worst == {"index": 3, "score": 0.0, "outputs": {"answer": "I do not know."}}
    assert answer.execution.usage is not None
    assert answer.execution.usage.calls == 4
    assert answer.execution.usage.prompt_tokens == 44
    document = job.get()
    assert document.state == "succeeded"
    assert (document.program, document.task) == ("capitals", "evaluate")
    assert document.revision == client.programs.get("capitals").revision
    assert answer.execution.revision == document.revision
    assert document.labels == {"for": "test"}
    assert document.progress is not None
    assert document.progress.done == document.progress.total == 4
    assert document.progress.message == "score 0.750"


def test_a_metric_of_ones_own_is_run_in_an_executor(client: Client, lm: LmServer) -> None:
    put(client, "capitals")
    lm.script = knows("France", "Italy")
    source = """
import os

async def metric(example, prediction):
    assert "FAST_KEY" not in os.environ
    assert example.question.startswith("The capital of")
    return len(prediction.answer) / 10 if example.answer == prediction.answer else 0
"""
    found = client.evaluate("capitals", DATASET, {"source": source}).result(SECONDS).outputs
    assert found["score"] == pytest.approx((0.5 + 0.4) / 4)
    assert [item["score"] for item in found["items"]] == [0, 0, 0.4, 0.5]


NAMED = [
    ("contains", "It is Paris, of course.", "paris", 1.0),
    ("contains", "It is Rome.", "Paris", 0.0),
    ("f1", "the city of Paris", "Paris", 0.5),
    ("exact-match", "The Eiffel Tower!", "eiffel tower", 1.0),
    ("exact-match", "Rome", ["Roma", "rome"], 1.0),
    ("semantic", "That would be Paris.", "Paris", 1.0),
]


@pytest.mark.parametrize(("metric", "said", "expected", "score"), NAMED)
def test_named_metrics_compare_an_output(
    client: Client, lm: LmServer, metric: str, said: str, expected: Any, score: float
) -> None:
    put(client, "capitals")
    lm.script = lambda asked: chat(
        **{"means_the_same": True} if "means_the_same" in asked.prompt else {"answer": said}
    )
    dataset = [{"inputs": {"question": "?"}, "expected": {"answer": expected}}]
    found = client.evaluate("capitals", dataset, metric).result(SECONDS).outputs
    assert found["score"] == score
    assert len(lm.asked) == (2 if metric == "semantic" else 1)


def test_objects_are_compared_as_json(client: Client, lm: LmServer) -> None:
    fields = [{"name": "item"}, {"name": "day", "type": "date"}]
    put(
        client, "ordered", signature="text -> lines: list[Line]", types={"Line": {"fields": fields}}
    )
    lines = [{"item": "pen", "day": "2030-01-31"}, {"item": "ink", "day": "2030-02-01"}]
    lm.script = lambda _: chat(lines=lines)
    dataset = [
        {"inputs": {"text": "?"}, "expected": {"lines": expected}}
        for expected in (lines, lines[:1])
    ]
    found = client.evaluate("ordered", dataset, "exact-match").result(SECONDS).outputs
    assert [item["score"] for item in found["items"]] == [0.0, 1.0]


def test_what_is_expected_is_compared_as_the_outputs_type_has_it(
    client: Client, lm: LmServer
) -> None:
    fields = [{"name": "item"}, {"name": "colour", "type": "str | None", "default": None}]
    signature = "text -> line: Line, count: int, day: date"
    put(client, "typed", signature=signature, types={"Line": {"fields": fields}})
    said = {"line": {"item": "pen", "colour": None}, "count": 3, "day": "2030-01-31"}
    lm.script = lambda _: chat(**said)
    for field, expected in (
        ("line", {"item": "pen"}),
        ("line", [{"item": "ink"}, {"item": "pen"}]),
        ("count", "3"),
        ("count", [2, "3"]),
        ("day", "2030-01-31"),
    ):
        dataset = [{"inputs": {"text": "?"}, "expected": {field: expected}}]
        metric = {"name": "exact-match", "field": field}
        assert client.evaluate("typed", dataset, metric).result(SECONDS).outputs["score"] == 1.0


NEVER_EQUAL = [
    ("int", "many", "Input should be a valid integer"),
    ("int", [1, "many"], "Input should be a valid integer"),
    ("list[int]", [[1], [2]], "Input should be a valid integer"),
    ("Literal['good', 'bad']", "ugly", "Input should be 'good' or 'bad'"),
    ("str", 7, "Input should be a valid string"),
]


@pytest.mark.parametrize(("type_", "expected", "said"), NEVER_EQUAL)
def test_what_no_answer_could_equal_is_refused_before_the_lm_is_asked(
    client: Client, lm: LmServer, type_: str, expected: Any, said: str
) -> None:
    put(client, "labelled", signature=f"text -> label: {type_}")
    dataset = [{"inputs": {"text": "?"}, "expected": {"label": expected}}]
    with pytest.raises(InvalidInputs, match=said) as refused:
        client.evaluate("labelled", dataset, "exact-match").result(SECONDS)
    assert (refused.value.problem.path or "").startswith("dataset.0.expected.label")
    assert not lm.asked


def test_what_cannot_be_used_scores_nothing_and_errors_are_counted(
    client: Client, lm: LmServer
) -> None:
    put(client, "capitals")
    lm.then("What?", Reply(status=404, message="no"), chat(answer="Madrid"), chat(answer="Tokyo"))
    job = client.evaluate("capitals", DATASET, "exact-match", concurrency=1)
    with pytest.raises(LmFailed) as refused:  # no other example would be spared that
        job.result(SECONDS)
    assert refused.value.type == "lm-refused"

    lm.clear()
    unwell = [Reply(status=500), Reply(status=500)]
    filtered = Reply(status=400, code="content_policy_violation", message="no")
    lm.then("What?", *unwell, filtered, chat(answer="Tokyo"))
    job = client.evaluate("capitals", DATASET, "exact-match", concurrency=1)
    found = job.result(SECONDS).outputs
    assert (found["score"], found["errors"]) == (0.25, 2)
    said = [item.get("error", "").partition(":")[0] for item in found["items"]]
    assert said == ["model-output-unusable", "lm-unavailable", "lm-refused", ""]

    lm.clear()
    lm.then(*unwell)
    job = client.evaluate("capitals", DATASET, "exact-match", concurrency=1, max_errors=0)
    with pytest.raises(LmFailed, match="lm-unavailable"):
        job.result(SECONDS)


def test_a_budget_of_calls_is_kept(client: Client, lm: LmServer) -> None:
    put(client, "capitals")
    job = client.evaluate("capitals", DATASET, "f1", budget={"lmCalls": 3}, concurrency=1)
    with pytest.raises(Refused) as spent:
        job.result(SECONDS)
    assert spent.value.type == "budget-spent"
    assert len(lm.asked) == 3
    assert spent.value.problem.usage is not None
    assert spent.value.problem.usage.calls == 3


def test_a_budget_is_spent_once_unless_more_attempts_are_asked_for(
    client: Client, lm: LmServer
) -> None:
    put(client, "repeatable", idempotent=True)
    lm.script = lambda _: Reply(status=500)
    given: Any = {"max_errors": 0, "concurrency": 1}
    once = client.evaluate("repeatable", DATASET, "f1", **given).wait(SECONDS)
    assert (once.state, once.attempts, once.max_attempts) == ("failed", 1, 1)
    twice = client.evaluate("repeatable", DATASET, "f1", max_attempts=2, **given).wait(SECONDS)
    assert (twice.state, twice.attempts) == ("failed", 2)


ASKS_AGAIN = """
import dspy

def metric(example, prediction):
    return dspy.Predict("answer -> good: bool")(answer=prediction.answer).good
"""


def test_what_a_metric_asks_of_the_lm_is_paid_too(client: Client, lm: LmServer) -> None:
    put(client, "capitals")
    lm.script = lambda asked: chat(good=True) if "`good`" in asked.prompt else chat(answer="Rome")
    budget = {"lmCalls": 3}
    job = client.evaluate(
        "capitals", DATASET, {"source": ASKS_AGAIN}, budget=budget, concurrency=1, max_errors=0
    )
    with pytest.raises(Refused) as spent:
        job.result(SECONDS)
    assert spent.value.type == "budget-spent"
    assert len(lm.asked) == 3


def test_examples_are_asked_for_at_once_as_far_as_is_said(client: Client, lm: LmServer) -> None:
    put(client, "capitals")
    lm.script = lambda _: Reply(chat(answer="Paris"), delay=0.5)
    client.evaluate("capitals", DATASET * 2, "f1", concurrency=3).result(SECONDS)
    assert lm.most_at_once == 3


def test_the_score_so_far_is_told_while_it_runs(client: Client, lm: LmServer) -> None:
    put(client, "capitals")
    may_go_on = threading.Event()

    def script(asked: Asked) -> Reply:
        if len(lm.asked) == 3:
            assert may_go_on.wait(SECONDS)
        # What comes within a tenth of a second of the last is not told.
        return Reply(knows("France", "Spain")(asked), delay=0.3)

    lm.script = script
    job = client.evaluate("capitals", DATASET, "exact-match", concurrency=1)
    told: list[tuple[float, float, str]] = []
    for event in job.events():
        if event.kind == "progress":
            told.append((event.data["done"], event.data["total"], event.data["message"]))
            if event.data["done"] == 2:
                assert job.get().state == "running"
                may_go_on.set()
    assert (2, 4, "score 0.500") in told
    assert told[-1] == (4, 4, "score 0.500")
    assert job.result(SECONDS).outputs["score"] == 0.5


def test_a_cancelled_evaluation_leaves_the_provider(client: Client, lm: LmServer) -> None:
    put(client, "capitals")
    lm.script = lambda _: Reply(chat(answer="Paris"), delay=100)
    job = client.evaluate("capitals", DATASET, "f1", concurrency=2)
    lm.wait_until(lambda server: len(server.asked) == 2)
    with lm.left_within(1, 0), lm.left_within(1, 1):
        job.cancel()
    assert job.wait(SECONDS).state == "cancelled"
    assert len(lm.asked) == 2


BAD = [
    ({"metric": "rouge"}, "metric.name"),
    ({"metric": {"name": "f1", "field": "score"}}, "metric.field"),
    ({"metric": {"source": "def other(a, b): return 1"}}, "metric.source"),
    ({"metric": {"source": "def metric(a, b) return 1"}}, "metric.source"),
    ({"metric": {}}, "metric"),
    ({"dataset": []}, "dataset"),
    ({"dataset": [{"inputs": {"question": "?"}}]}, "dataset.0.expected.answer"),
    ({"dataset": [{"question": "?"}]}, "dataset.0.inputs"),
    ({"dataset": [{"inputs": {"question": "\ud800"}}]}, "dataset.0.inputs.question"),
    (
        {"dataset": [{"inputs": {"question": "?"}, "expected": {"answer": ["\ud800"]}}]},
        "dataset.0.expected.answer",
    ),
    ({"concurrency": 1000}, "concurrency"),
    ({"budget": {"lmCalls": 0}}, "budget.lmCalls"),
    ({"budget": {"seconds": 1e6}}, "budget.seconds"),
    ({"budget": {"seconds": 80_000}}, "budget.seconds"),
    ({"lm": "gpt"}, "lm"),
]


@pytest.mark.parametrize(("wrong", "path"), BAD)
def test_what_cannot_be_evaluated_is_refused_at_once(
    client: Client, lm: LmServer, wrong: dict[str, Any], path: str
) -> None:
    put(client, "capitals")
    given = {"dataset": DATASET, "metric": "exact-match", **wrong}
    with pytest.raises(Refused) as refused:
        client.evaluate("capitals", **given)
    assert refused.value.problem.path == path
    assert not lm.asked


def test_what_only_an_executor_finds_out_ends_the_job(client: Client, lm: LmServer) -> None:
    put(client, "capitals")
    dataset = [*DATASET, {"inputs": {"question": 7}, "expected": {"answer": "7"}}]
    with pytest.raises(InvalidInputs) as invalid:
        client.evaluate("capitals", dataset, "f1").result(SECONDS)
    assert invalid.value.problem.path == "dataset.4.inputs.question"
    source = "import nothing_of_that_name\ndef metric(a, b): return 1"
    with pytest.raises(InvalidProgram) as broken:
        client.evaluate("capitals", DATASET, {"source": source}).result(SECONDS)
    assert broken.value.problem.path == "metric.source"
    source = "def metric(a, b): return a.no_such_field"
    with pytest.raises(AnyPodError, match="no_such_field"):
        client.evaluate("capitals", DATASET, {"source": source}, max_errors=2).result(SECONDS)


def test_a_program_that_asks_no_lm_is_not_evaluated(client: Client) -> None:
    client.programs.put("plain", source="def main() -> int:\n    return 1\n")
    with pytest.raises(Refused, match="asks no LM"):
        client.evaluate("plain", DATASET, "f1")


def test_a_key_begins_one_job(client: Client, lm: LmServer) -> None:
    put(client, "capitals")
    first, again = (
        client.evaluate("capitals", DATASET, "f1", idempotency_key="once") for _ in range(2)
    )
    assert first.id == again.id
    first.result(SECONDS)
    assert len(lm.asked) == len(DATASET)


def test_more_examples_than_the_store_takes_are_refused(client: Client) -> None:
    put(client, "capitals")
    many = [{**DATASET[0], "expected": {"answer": "Paris" * 4000}}] * 60
    with pytest.raises(Refused) as refused:
        client.evaluate("capitals", many, "f1")
    assert refused.value.type == "too-large"


async def test_the_asynchronous_client_has_it_too(pool: str, lm: LmServer) -> None:
    async with AsyncClient(pool, timeout=60) as client:
        await client.programs.put("apart", kind="dspy", signature="question -> answer")
        lm.script = knows(*CAPITALS)
        job = await client.evaluate("apart@" + (await client.programs.get("apart")).revision,
                                    DATASET, "exact-match")  # fmt: skip
        assert (await job.result(SECONDS)).outputs["score"] == 1.0
        job = await client.optimize("apart", "BootstrapFewShot", DATASET, "exact-match")
        assert (await job.result(SECONDS)).outputs["after"]["score"] == 1.0


def test_an_earlier_revision_can_be_evaluated_and_says_so(client: Client, lm: LmServer) -> None:
    put(client, "older")
    first = client.programs.get("older").revision
    put(client, "older", instructions="Be brief.")
    answer = client.evaluate(f"older@{first[:12]}", DATASET, "f1").result(SECONDS)
    assert answer.execution.revision == first
    assert "Be brief." not in lm.asked[0].prompt


def test_a_sessions_program_is_not_evaluated(pool: str) -> None:
    request = urllib.request.Request(
        f"{pool}/v1/pools/default/programs/capitals/evaluate",
        data=json.dumps({"dataset": DATASET, "metric": "f1"}).encode(),
        headers={"Content-Type": "application/json", "X-Session-ID": "mine"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    with refused.value as answer:
        assert answer.code == 400
        assert json.load(answer)["path"] == "X-Session-ID"


def test_its_end_is_told_though_it_is_not_asked_to_be_a_job(
    client: Client, pool: str, lm: LmServer
) -> None:
    put(client, "capitals")
    origin = "https://receiver.invalid"
    request = urllib.request.Request(
        f"{pool}/v1/pools/default/programs/capitals/evaluate",
        data=json.dumps({"dataset": DATASET, "metric": "f1"}).encode(),
        headers={"Content-Type": "application/json", "Webhook-URL": f"{origin}/ended"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        job = client.job(json.load(answer)["id"])
    webhook = job.wait(SECONDS).webhook
    assert webhook is not None
    assert (webhook.origin, webhook.state) == (origin, "pending")
    job.delete()
