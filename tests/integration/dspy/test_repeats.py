"""What an LM's provider refused for now is not kept under a key: a repeated call asks it again."""

import json
import urllib.request
from typing import Any

import pytest
from tests.integration.dspy.test_runs import put
from tests.support.lm_server import LmServer, Reply, chat

from anypod.client import AnyPodError, Client

PASSING = [
    (Reply(status=401), "lm-auth"),
    (Reply(status=429, retry_after=3600), "lm-rate-limited"),
    (Reply(status=503), "lm-unavailable"),
]
LASTING = [
    (Reply(status=404), "lm-refused"),
    (Reply(status=400, code="context_length_exceeded", message="too long"), "lm-context-window"),
    (Reply("nonsense"), "model-output-unusable"),
]


def failed(client: Client, key: str) -> str:
    """The problem of a keyed run."""
    with pytest.raises(AnyPodError) as caught:
        client.run("qa", {"question": "?"}, idempotency_key=key)
    return caught.value.type


@pytest.mark.parametrize(("reply", "type_"), PASSING)
def test_what_may_pass_is_asked_again_under_the_same_key(
    client: Client, lm: LmServer, reply: Reply, type_: str
) -> None:
    put(client, "qa")
    lm.then(*[reply] * (1 if type_ != "lm-unavailable" else 2))
    key = f"passing-{type_}"
    assert failed(client, key) == type_
    asked = len(lm.asked)
    for _ in range(2):  # the second time it is told again
        answer = client.run("qa", {"question": "?"}, idempotency_key=key)
        assert answer.outputs == {"answer": "42"}
    assert len(lm.asked) == asked + 1


@pytest.mark.parametrize(("reply", "type_"), LASTING)
def test_what_would_be_refused_again_is_told_again(
    client: Client, lm: LmServer, reply: Reply, type_: str
) -> None:
    put(client, "qa")
    lm.then(reply)
    assert failed(client, f"lasting-{type_}") == type_
    asked = len(lm.asked)
    assert failed(client, f"lasting-{type_}") == type_
    assert len(lm.asked) == asked


def streamed(pool: str, key: str) -> bytes:
    """The events of a keyed run."""
    request = urllib.request.Request(
        f"{pool}/v1/pools/default/programs/qa/run",
        b'{"inputs": {"question": "?"}}',
        {
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
            "Idempotency-Key": key,
        },
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        told: bytes = answer.read()
        return told


def test_a_stream_that_the_provider_broke_off_is_run_again(
    pool: str, client: Client, lm: LmServer
) -> None:
    put(client, "qa")
    lm.then(Reply(chat(answer="many words " * 20), cut_after=40, piece_delay=0.02))
    assert b"event: chunk" in (first := streamed(pool, "cut"))
    assert b"lm-unavailable" in first
    assert b'"answer":"42"' in streamed(pool, "cut")


def test_an_item_that_the_provider_had_no_time_for_is_run_again(
    client: Client, lm: LmServer
) -> None:
    put(client, "qa")

    def run() -> list[Any]:
        items = client.map(
            "qa", [{"question": "?"}], idempotency_key="items", return_exceptions=True
        )
        return [item.error.type if item.error is not None else item.outputs for item in items]

    lm.then(Reply(status=429, retry_after=3600))
    assert run() == ["lm-rate-limited"]
    assert json.dumps(run()) == '[{"answer": "42"}]'
