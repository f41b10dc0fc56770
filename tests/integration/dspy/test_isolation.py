"""Runs that go on at the same time do not see each other's LM, key, settings, history or usage."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.integration.dspy.conftest import KEYS, LMS
from tests.support.lm_server import Asked, LmServer, Reply, chat

from anypod.client import Client

RUNS = 64


def number_in(text: str) -> int:
    return int(text.split("number ")[1].split(".")[0])


@pytest.mark.timeout(240)
def test_concurrent_runs_over_all_lms_never_meet(client: Client, lm: LmServer) -> None:
    client.programs.put(
        "qa", kind="dspy", signature="question -> answer", instructions="Answer with the number."
    )

    def script(asked: Asked) -> Reply:
        number = number_in(asked.last)
        return Reply(
            chat(answer=f"{number} by {asked.model}"),
            delay=0.5,
            prompt_tokens=1000 + number,
            completion_tokens=1 + LMS.index(asked.model),
        )

    lm.script = script

    def run(number: int) -> None:
        name = LMS[number % len(LMS)]
        temperature = number / RUNS
        answer = client.run(
            "qa",
            {"question": f"number {number}."},
            lm={"name": name, "temperature": temperature},
            timeout=60,
        )
        assert answer.outputs == {"answer": f"{number} by {name}"}
        usage = answer.execution.usage
        assert usage is not None
        assert (usage.lm, usage.calls, usage.prompt_tokens) == (name, 1, 1000 + number)
        assert usage.completion_tokens == 1 + LMS.index(name)
        assert (usage.cost is None) == (name != "fast")

    with ThreadPoolExecutor(RUNS) as threads:
        list(threads.map(run, range(RUNS)))
    assert len(lm.asked) == RUNS
    assert lm.most_at_once > len(LMS), "they did not meet at all"
    for asked in lm.asked:
        number = number_in(asked.last)
        name = LMS[number % len(LMS)]
        assert (asked.model, asked.key) == (name, KEYS[name])
        assert asked.body["temperature"] == number / RUNS
        assert asked.prompt.count("number ") == 1, "a prompt of somebody else"


@pytest.mark.timeout(240)
def test_runs_that_wait_for_an_lm_share_executors(client: Client, lm: LmServer) -> None:
    """Those of a program with tools, whose code may block, have one each."""
    client.programs.put("waiting", kind="dspy", signature="question -> answer")
    lm.script = lambda _: Reply(chat(answer="42"), delay=3.0)
    with ThreadPoolExecutor(RUNS) as threads:
        runs = [
            threads.submit(client.run, "waiting", {"question": f"number {number}."}, timeout=60)
            for number in range(RUNS)
        ]
        assert {run.result().outputs["answer"] for run in runs} == {"42"}
    assert len(lm.asked) == RUNS
    assert lm.most_at_once > RUNS / 2
    tool = {"name": "add", "source": "def add(a: int, b: int) -> int:\n    return a + b\n"}
    agent = client.programs.put(
        "agent", kind="dspy", signature="question -> answer", module="ReAct", tools=[tool]
    )
    assert (client.programs.get("waiting").concurrency, agent.concurrency) == (50, 1)


def test_the_same_question_is_asked_each_time(client: Client, lm: LmServer) -> None:
    client.programs.put("qa", kind="dspy", signature="question -> answer")
    for name in ("fast", "slow", "fast"):
        client.run("qa", {"question": "the same?"}, lm=name)
    assert [asked.model for asked in lm.asked] == ["fast", "slow", "fast"]
