"""What was asked of an LM is counted and told, however its run ends: it has been paid for."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlparse

import pytest
from tests.integration.dspy.test_evaluation import DATASET, SECONDS
from tests.integration.dspy.test_found_is_kept import BARE, DIES_OF, FOUND_AFTER
from tests.integration.dspy.test_optimisation import TRAINSET, VALSET, learns
from tests.integration.dspy.test_runs import put
from tests.integration.dspy.test_sessions_and_metrics import metric
from tests.support.lm_server import Asked, LmServer, Reply, chat
from tests.support.local import eventually

from anypod.api.usage import Usage
from anypod.client import AnyPodError, Client

TOKENS = 500
"""Of each prompt; a completion has 7."""
KEEPS_ON = "def reward(inputs, outputs):\n    return 0.0\n"
WRAP = {"name": "BestOfN", "attempts": 4, "threshold": 1}

Counted = tuple[float, float, float, float]


def counted(pool: str) -> Counted:
    """Calls, tokens and dollars of the LM ``fast``, by the gateway's metrics."""
    lm = 'lm="fast",pool="default"}'
    return (
        metric(pool, f"anypod_lm_calls_total{{{lm}"),
        metric(pool, f'anypod_lm_tokens_total{{kind="prompt",{lm}'),
        metric(pool, f'anypod_lm_tokens_total{{kind="completion",{lm}'),
        metric(pool, f"anypod_lm_cost_dollars_total{{{lm}"),
    )


def bill(calls: int, answered: int) -> Usage:
    """By the prices of ``fast``: a dollar for a million tokens of prompts, and two for others."""
    given, made = answered * TOKENS, answered * 7
    return Usage("fast", calls, given, made, (given + 2 * made) / 1e6)


@contextmanager
def counts(pool: str, calls: int, answered: int) -> Iterator[None]:
    """That the metrics say it after the block, and say it once."""
    before = counted(pool)
    yield
    told = bill(calls, answered)

    def more() -> Counted:
        now = counted(pool)
        return now[0] - before[0], now[1] - before[1], now[2] - before[2], now[3] - before[3]

    eventually(lambda: more()[0] >= calls, f"{calls} calls are counted")
    expected = calls, told.prompt_tokens, told.completion_tokens, told.cost
    assert more() == pytest.approx(expected)


def answers(lm: LmServer, number: int) -> None:
    """So many at once; the next one is waited for."""
    lm.script = lambda _: Reply(
        chat(answer="Paris"), delay=0 if len(lm.asked) <= number else 100, prompt_tokens=TOKENS
    )


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_of_a_run_that_its_caller_left(
    pool: str, client: Client, lm: LmServer, accept: str
) -> None:
    put(client, "left", wrap={**WRAP, "reward": KEEPS_ON})
    answers(lm, 2)
    body = json.dumps({"inputs": {"question": "?"}}).encode()
    where = urlparse(pool)
    head = f"POST /v1/pools/default/programs/left/run HTTP/1.1\r\nHost: {where.netloc}\r\n"
    head += f"Accept: {accept}\r\nContent-Type: application/json\r\n"
    with counts(pool, 3, 2), socket.create_connection((where.hostname, where.port)) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        lm.wait_until(lambda server: len(server.asked) == 3)


def test_of_an_evaluation_that_was_cancelled(pool: str, client: Client, lm: LmServer) -> None:
    put(client, "cancelled")
    answers(lm, 3)
    with counts(pool, 4, 3):
        job = client.evaluate("cancelled", DATASET, "f1", concurrency=1)
        lm.wait_until(lambda server: len(server.asked) == 4)
        job.cancel()
        assert job.wait(SECONDS).state == "cancelled"
    with pytest.raises(AnyPodError) as caught:
        job.result(SECONDS)
    assert (caught.value.type, caught.value.problem.usage) == ("job-cancelled", bill(4, 3))


WAYS = [
    ("os._exit(3)", {}, "program-exited"),
    ("os.kill(os.getpid(), signal.SIGKILL)", {}, "program-crashed"),
    (
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])",
        {"timeout_seconds": 5},
        "deadline-exceeded",
    ),
]
DIES = """
import os, signal

calls = 0

{kind} reward(inputs, outputs):
    global calls
    calls += 1
    if calls == 2:
        {way}
    while calls == 2:
        pass
    return 0.0
"""


@pytest.mark.parametrize(
    ("kind", "given"), [("def", {}), ("async def", {"concurrency": 4})], ids=["alone", "beside"]
)
@pytest.mark.parametrize(("way", "how", "type_"), WAYS)
def test_of_a_run_whose_process_died(
    pool: str,
    client: Client,
    lm: LmServer,
    kind: str,
    given: dict[str, Any],
    way: str,
    how: dict[str, Any],
    type_: str,
) -> None:
    reward = DIES.replace("{kind}", kind).replace("{way}", way)
    put(client, "mortal-run", wrap={**WRAP, "reward": reward}, **given, **how)
    answers(lm, 2)
    with counts(pool, 2, 2), pytest.raises(AnyPodError) as caught:
        client.run("mortal-run", {"question": "?"}, idempotency_key="")
    assert (caught.value.type, caught.value.problem.usage) == (type_, bill(2, 2))


def test_of_an_optimisation_that_died_when_it_was_scored_again(
    pool: str, client: Client, lm: LmServer
) -> None:
    put(client, "mortal-found")

    def script(asked: Asked) -> Reply:
        found = len(lm.asked) > FOUND_AFTER
        return Reply(chat(answer="last words") if found else learns(asked), prompt_tokens=TOKENS)

    lm.script = script
    dies = {"source": DIES_OF.replace("{way}", "os._exit(3)")}
    paid = FOUND_AFTER + 1
    with counts(pool, paid, paid):
        job = client.optimize("mortal-found", BARE, TRAINSET, dies, valset=VALSET, concurrency=1)
        answer = job.result(SECONDS)
    assert answer.outputs["after"] is None
    assert answer.execution.usage == bill(paid, paid)
