"""Programs of kind dspy, from their creation to an LM's answer, through real processes."""

import json
import socket
import urllib.request
from functools import partial
from typing import Any
from urllib.parse import urlparse

import pytest
from tests.integration.dspy.conftest import KEYS
from tests.support.lm_server import LmServer, Reply, chat

from anypod.client import (
    AnyPodError,
    Client,
    DeadlineExceeded,
    InvalidInputs,
    InvalidProgram,
    LmFailed,
    Refused,
)

ORDER = {
    "signature": "text -> order: Order",
    "types": {
        "Order": {
            "fields": [{"name": "buyer"}, {"name": "lines", "type": "list[Line]"}],
        },
        "Line": {
            "fields": [
                {"name": "item"},
                {"name": "quantity", "type": "int"},
                {"name": "size", "type": "Literal['S', 'M'] | None"},
            ]
        },
    },
}


def put(client: Client, id_: str, **given: Any) -> None:
    client.programs.put(id_, kind="dspy", **{"signature": "question -> answer", **given})


def test_a_program_is_created_and_asks_the_pools_lm(client: Client, lm: LmServer) -> None:
    document = client.programs.put(
        "qa", kind="dspy", signature="question -> answer", instructions="Be brief."
    )
    assert document.kind == "dspy"
    assert document.entrypoint == "Predict"
    assert document.doc == "Be brief."
    assert document.inputs_schema is not None
    assert document.inputs_schema["required"] == ["question"]
    answer = client.run("qa", {"question": "What is six times seven?"})
    assert answer.outputs == {"answer": "42"}
    (asked,) = lm.asked
    assert asked.key == KEYS["fast"]
    assert asked.model == "fast"
    assert "six times seven" in asked.last
    assert "Be brief." in asked.prompt


def test_a_definition_that_was_got_can_be_put_again(client: Client) -> None:
    first = client.programs.put("order", kind="dspy", module="ChainOfThought", **ORDER)  # type: ignore[arg-type]
    assert first.files == {}
    assert first.definition is not None
    second = client.programs.put("order", kind="dspy", **first.definition)
    assert second.revision == first.revision


NOT_TOLD = [
    ({"question": "half of \ud83d"}, "inputs.question"),
    ({"question": "?", "more": {"a": ["fine", "\udc00"]}}, "inputs.more.a.1"),
    ({"question": "?", "more": {"\ud800": []}}, r"inputs.more.\ud800"),
    (
        {"question": "?", "turns": [{"question": "\ud800", "answer": "x"}]},
        "inputs.turns.0.question",
    ),
    ({"question": "?", "\ud800": 1}, r"inputs.\ud800"),
]


@pytest.mark.parametrize(("inputs", "place"), NOT_TOLD)
def test_what_no_lm_can_be_told_is_refused_by_its_place(
    client: Client, lm: LmServer, inputs: dict[str, Any], place: str
) -> None:
    more = "more: dict[str, list[str]], turns: History"
    put(client, "asks", signature=f"question, {more} -> answer")
    given = {"more": {}, "turns": [], **inputs}
    with pytest.raises(InvalidInputs) as refused:
        client.run("asks", given)
    assert refused.value.problem.path == place
    assert "unpaired surrogate" in str(refused.value)
    with pytest.raises(InvalidInputs), client.stream("asks", given) as events:
        list(events)
    ended = client.submit("asks", given).wait(60)
    assert ended.problem is not None
    assert ended.problem["type"] == "invalid-inputs"
    assert not lm.asked


def test_a_pair_of_surrogates_is_a_character(client: Client, lm: LmServer) -> None:
    put(client, "qa")
    assert client.run("qa", {"question": "\U0001f600"}).outputs == {"answer": "42"}
    assert "\U0001f600" in lm.asked[0].prompt


def test_usage_and_cost_are_told(client: Client, lm: LmServer) -> None:
    put(client, "qa")
    lm.then(Reply(chat(answer="1"), prompt_tokens=1000, completion_tokens=500))
    usage = client.run("qa", {"question": "?"}).execution.usage
    assert usage is not None
    assert (usage.lm, usage.calls) == ("fast", 1)
    assert (usage.prompt_tokens, usage.completion_tokens) == (1000, 500)
    assert usage.cost == pytest.approx(0.002)


def test_reasoning_is_among_the_outputs(client: Client, lm: LmServer) -> None:
    put(client, "think", module="ChainOfThought")
    lm.then(chat(reasoning="6 * 7", answer="42"))
    outputs = client.run("think", {"question": "?"}).outputs
    assert outputs == {"reasoning": "6 * 7", "answer": "42"}


def test_nested_types_are_told_to_the_lm_and_read_from_it(client: Client, lm: LmServer) -> None:
    put(client, "order", **ORDER)
    order = {"buyer": "Ann", "lines": [{"item": "shirt", "quantity": 2, "size": "M"}]}
    lm.then(chat(order=order))
    assert client.run("order", {"text": "Ann: two shirts in M"}).outputs == {"order": order}
    assert "quantity" in lm.asked[0].prompt


@pytest.mark.parametrize(
    "reply",
    [
        "I would rather not say.",
        chat(order={"buyer": "Ann", "lines": [{"item": "shirt", "quantity": "two"}]}),
        chat(order={"buyer": "Ann"}),
        chat(order={"buyer": "Ann", "lines": [{"item": "x", "quantity": 1, "size": "XL"}]}),
    ],
)
def test_a_reply_that_does_not_fit_is_told_with_its_text(
    client: Client, lm: LmServer, reply: str
) -> None:
    put(client, "order", **ORDER)
    lm.then(reply)
    with pytest.raises(LmFailed) as caught:
        client.run("order", {"text": "two shirts"})
    problem = caught.value.problem
    assert (problem.type, problem.status) == ("model-output-unusable", 500)
    assert problem.model_output is not None
    assert reply.splitlines()[-1] in problem.model_output
    assert problem.usage is not None
    assert (problem.usage.calls, len(lm.asked)) == (1, 1)


def test_a_long_reply_is_cut(client: Client, lm: LmServer) -> None:
    put(client, "qa")
    lm.then("nonsense " * 10_000)
    with pytest.raises(LmFailed) as caught:
        client.run("qa", {"question": "?"})
    assert len(caught.value.problem.model_output or "") < 5000


@pytest.mark.parametrize(
    ("inputs", "path"),
    [
        ({}, "inputs.question"),
        ({"question": 5}, "inputs.question"),
        ({"question": "?", "lm": "http://evil"}, "inputs.lm"),
        ({"question": "?", "config": {"api_base": "http://evil"}}, "inputs.config"),
        ({"question": "?", "demos": []}, "inputs.demos"),
        ({"question": "?", "signature": "a -> b"}, "inputs.signature"),
    ],
)
def test_inputs_that_do_not_fit_never_reach_the_lm(
    client: Client, lm: LmServer, inputs: dict[str, Any], path: str
) -> None:
    put(client, "qa")
    with pytest.raises(InvalidInputs) as caught:
        client.run("qa", inputs)
    assert caught.value.problem.path == path
    assert lm.asked == []


@pytest.mark.parametrize(
    ("reply", "type_", "status"),
    [
        (Reply(status=401), "lm-auth", 502),
        (Reply(status=403), "lm-auth", 502),
        (Reply(status=429, retry_after=3600), "lm-rate-limited", 429),
        (Reply(status=500), "lm-unavailable", 503),
        (Reply(status=503), "lm-unavailable", 503),
        (Reply(status=404), "lm-refused", 502),
        (Reply(status=400), "lm-refused", 502),
        (
            Reply(status=400, code="context_length_exceeded", message="maximum context length"),
            "lm-context-window",
            422,
        ),
        (
            Reply(status=400, message="This model's maximum context length is 8192 tokens"),
            "lm-context-window",
            422,
        ),
        (Reply("x", cut_after=0), "lm-unavailable", 503),
        (Reply(body=b"<html>log in</html>"), "lm-unavailable", 503),
        (Reply(body=b"[1, 2]"), "lm-unavailable", 503),
        (Reply(body=b" " * (33 << 20)), "lm-unavailable", 503),
        (Reply(status=307, body=b"", location="http://127.0.0.1:1/"), "lm-unavailable", 503),
        (Reply(status=402), "lm-auth", 502),
        (Reply(status=429, code="insufficient_quota"), "lm-auth", 502),
    ],
    ids=lambda each: None if isinstance(each, Reply) else str(each),
)
def test_what_a_provider_refuses_is_a_problem_of_its_own(
    client: Client, lm: LmServer, reply: Reply, type_: str, status: int
) -> None:
    put(client, "qa")
    lm.then(reply, reply, reply)
    with pytest.raises(AnyPodError) as caught:
        client.run("qa", {"question": "?"})
    problem = caught.value.problem
    assert (problem.type, problem.status) == (type_, status)
    assert "'fast'" in problem.detail
    assert problem.usage is not None
    assert problem.usage.calls == len(lm.asked)
    if type_ == "lm-rate-limited":
        assert problem.retry_after == 3600


@pytest.mark.parametrize(
    "reply",
    [
        *(Reply(status=503), Reply(status=429, retry_after=0.01), Reply(status=409)),
        Reply(body=b"<html>a proxy</html>"),
    ],
    ids=["503", "429", "409", "a page"],
)
def test_what_fails_for_a_moment_is_tried_again(client: Client, lm: LmServer, reply: Reply) -> None:
    put(client, "qa")
    lm.then(reply, chat(answer="42"))
    answer = client.run("qa", {"question": "?"})
    assert answer.outputs == {"answer": "42"}
    assert answer.execution.usage is not None
    assert (answer.execution.usage.calls, len(lm.asked)) == (2, 2)


def answered(client: Client, *, stream: bool) -> Any:
    if not stream:
        return client.run("qa", {"question": "?"})
    with client.stream("qa", {"question": "?"}) as events:
        return list(events)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_reply_that_was_cut_is_no_answer(client: Client, lm: LmServer, stream: bool) -> None:
    """What is left of a number is another number. It is not asked again in another form, in which
    it would be cut again."""
    put(client, "qa")
    lm.then(Reply(chat(answer="twelve and"), finish="length"))
    with pytest.raises(AnyPodError, match="cut at its limit of tokens") as caught:
        answered(client, stream=stream)
    problem = caught.value.problem
    assert problem.type == "model-output-unusable"
    assert "twelve and" in str(problem.model_output)
    assert problem.usage is not None
    assert (problem.usage.calls, problem.usage.completion_tokens, len(lm.asked)) == (1, 7, 1)


def test_a_patience_that_ends_after_the_deadline_is_not_waited_for(
    client: Client, lm: LmServer
) -> None:
    put(client, "qa")
    lm.then(Reply(status=429, retry_after=30))
    with pytest.raises(LmFailed) as caught:
        client.run("qa", {"question": "?"}, timeout=10)
    assert caught.value.problem.retry_after == 30
    assert len(lm.asked) == 1


def test_at_the_deadline_the_provider_is_left(client: Client, lm: LmServer) -> None:
    put(client, "qa")
    lm.then(Reply(delay=60))
    with pytest.raises(DeadlineExceeded) as caught:
        client.run("qa", {"question": "?"}, timeout=1)
    assert caught.value.problem.usage is not None
    assert caught.value.problem.usage.calls == 1
    lm.wait_until(lambda server: server.asked[0].left)


def test_a_run_may_choose_among_the_pools_lms(client: Client, lm: LmServer) -> None:
    put(client, "qa", lm={"name": "slow", "temperature": 0.25, "maxTokens": 100})
    client.run("qa", {"question": "?"})
    client.run("qa", {"question": "?"}, lm="lm2")
    client.run("qa", {"question": "?"}, lm={"temperature": 1})
    first, second, third = lm.asked
    assert (first.key, first.model) == (KEYS["slow"], "slow")
    assert (first.body["temperature"], first.body["max_tokens"]) == (0.25, 100)
    assert (second.key, second.model, second.body["temperature"]) == (KEYS["lm2"], "lm2", 0.25)
    assert (third.model, third.body["temperature"], third.body["max_tokens"]) == ("slow", 1, 100)


def test_parameters_that_the_lm_does_not_take_are_refused(client: Client, lm: LmServer) -> None:
    put(client, "qa", lm="thinker")
    session = client.session("warm")
    session.choose_lm(temperature=0.5)
    for run in (partial(client.run, lm={"temperature": 0.5}), session.run):
        with pytest.raises(Refused, match="'thinker' cannot be asked like this") as caught:
            run("qa", {"question": "?"})
        assert (caught.value.problem.status, caught.value.problem.path) == (400, "lm")
    session.end()
    assert lm.asked == []


def test_nobody_is_given_longer_answers_than_the_pool_allows(client: Client, lm: LmServer) -> None:
    too_long = "501 are too many, the pool allows its LM 'lm7' 500"
    with pytest.raises(InvalidProgram, match=too_long) as invalid:
        put(client, "qa", lm={"name": "lm7", "maxTokens": 501})
    assert invalid.value.problem.path == "lm.maxTokens"
    put(client, "qa", lm="lm7")
    put(client, "long", lm={"maxTokens": 501})
    session = client.session("short")
    session.choose_lm(max_tokens=501)
    for refused in (
        partial(client.run, "qa", {"question": "?"}, lm={"maxTokens": 501}),
        partial(client.run, "qa", {"question": "?"}, lm={"name": "lm7", "maxTokens": 501}),
        partial(client.run, "long", {"question": "?"}, lm="lm7"),
        partial(session.run, "qa", {"question": "?"}),
        partial(session.choose_lm, name="lm7", max_tokens=501),
        partial(
            client.evaluate,
            "qa",
            [{"inputs": {"question": "?"}, "expected": {"answer": "42"}}],
            "f1",
            lm={"name": "lm7", "maxTokens": 501},
        ),
    ):
        with pytest.raises(Refused, match=too_long) as caught:
            refused()
        assert (caught.value.problem.status, caught.value.problem.path) == (400, "lm.maxTokens")
    assert lm.asked == []
    client.run("qa", {"question": "?"}, lm={"maxTokens": 500})
    client.run("qa", {"question": "?"})
    client.run("long", {"question": "?"})
    assert [asked.body["max_tokens"] for asked in lm.asked] == [500, 500, 501]


@pytest.mark.parametrize(
    ("lm_", "message"),
    [
        ("none", "no LM 'none'; it has: fast, slow"),
        ({"name": "fast", "apiBase": "http://evil"}, "unknown field"),
        ({"temperature": 5}, "<= 2"),
        ({"maxTokens": 0}, ">= 1"),
        (5, "str"),
    ],
)
def test_a_run_cannot_choose_anything_else(
    client: Client, lm: LmServer, lm_: Any, message: str
) -> None:
    put(client, "qa")
    with pytest.raises(Refused, match=message) as caught:
        client.run("qa", {"question": "?"}, lm=lm_)
    assert caught.value.type == "bad-request"
    assert lm.asked == []


def test_a_python_program_asks_no_lm(client: Client) -> None:
    client.programs.put("plain", source="def main(): return 1")
    with pytest.raises(Refused, match="asks no LM"):
        client.run("plain", {}, lm="fast")


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"signature": "q: os.system -> a"}, "signature.inputs.0.type"),
        ({"lm": "none"}, "lm"),
        ({"module": "Agent"}, "module.name"),
        ({"state": {"self": {"lm": None}}}, "state.self.lm"),
        ({"timeoutSeconds": 50_000}, "timeoutSeconds"),
        ({"concurrency": 1000}, "concurrency"),
        ({"concurrency": 5000}, "concurrency"),
    ],
)
def test_a_program_that_cannot_be_is_refused_with_the_path(
    client: Client, given: dict[str, Any], path: str
) -> None:
    with pytest.raises(InvalidProgram) as caught:
        put(client, "bad", **given)
    assert caught.value.status == 422
    assert (caught.value.problem.path or "").startswith(path)
    with pytest.raises(AnyPodError, match="program-not-found"):
        client.programs.get("bad")


def test_a_program_may_come_with_the_call(pool: str, lm: LmServer) -> None:
    body = {"program": {"kind": "dspy", "signature": "q -> answer"}, "inputs": {"q": "?"}}
    request = urllib.request.Request(
        f"{pool}/v1/pools/default/run",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer)["outputs"] == {"answer": "42"}


def test_a_client_that_leaves_leaves_the_provider_too(pool: str, lm: LmServer) -> None:
    with Client(pool) as client:
        put(client, "qa")
    lm.then(Reply(chat(answer="42"), delay=60))
    body = json.dumps({"inputs": {"question": "?"}}).encode()
    where = urlparse(pool)
    with socket.create_connection((where.hostname, where.port)) as connection:
        head = f"POST /v1/pools/default/programs/qa/run HTTP/1.1\r\nHost: {where.netloc}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        lm.wait_until(lambda server: bool(server.asked))
        with lm.left_within(1):
            connection.close()
