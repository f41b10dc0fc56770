"""What an optimiser has found and paid for is told, whatever comes after it."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.integration.dspy.test_evaluation import DATASET, SECONDS
from tests.integration.dspy.test_optimisation import (
    GEPA,
    MIPRO,
    TRAINSET,
    VALSET,
    learns,
    proposes,
    reflects,
)
from tests.integration.dspy.test_runs import put
from tests.support.lm_server import Asked, LmServer, Reply, chat

from anypod.client import Client, Refused

FOUND_AFTER = len(VALSET) + len(TRAINSET)
"""Calls of the LM after which it is scored again."""
BARE = {"name": "BootstrapFewShot", "maxLabeledDemos": 0}

Script = Callable[[Asked], Reply]


def then(lm: LmServer, script: Callable[[Asked], str], **otherwise: Any) -> Script:
    """A model that does as the script says until the second evaluation."""

    def scripted(asked: Asked) -> Reply:
        return Reply(script(asked), **otherwise if len(lm.asked) > FOUND_AFTER else {})

    return scripted


AFTERWARDS = [
    ({"status": 401}, {}, "lm-auth"),
    ({"status": 500}, {"max_errors": 0}, "lm-unavailable"),
    ({"delay": 100}, {"budget": {"seconds": 20}, "concurrency": 4}, "it did not end in time"),
]


@pytest.mark.parametrize(("otherwise", "given", "reason"), AFTERWARDS)
def test_what_cannot_be_scored_again_is_told_and_is_no_revision(
    client: Client, lm: LmServer, otherwise: dict[str, Any], given: Any, reason: str
) -> None:
    put(client, "unscored")
    before = client.programs.get("unscored").revision
    lm.script = then(lm, learns, **otherwise)
    job = client.optimize("unscored", BARE, TRAINSET, "exact-match", valset=VALSET, **given)
    found = job.result(SECONDS).outputs
    assert found["before"]["score"] == 0.5
    assert found["after"] is None
    assert found["revision"] is None
    assert found["reason"].startswith(f"it could not be scored again: {reason}")
    (demo,) = found["state"]["self"]["demos"]
    assert demo["answer"] == "Paris"
    assert client.programs.get("unscored").revision == before
    definition = client.programs.get("unscored").definition or {}
    mended = client.programs.put("unscored", kind="dspy", **{**definition, "state": found["state"]})
    assert mended.revision != before


DIES_OF = """
import os, signal

def metric(example, prediction):
    if prediction.answer == "last words":
        {way}
    return prediction.answer == example.answer
"""
DEATHS = [
    ("os.kill(os.getpid(), signal.SIGSEGV)", {}, "program-crashed: the program's process was kill"),
    ("os._exit(3)", {}, "program-exited: "),
    ("raise SystemExit(3)", {}, "program-exited: "),
    ("while True: pass", {"budget": {"seconds": 20}}, "deadline-exceeded: "),
]


@pytest.mark.parametrize(("way", "given", "reason"), DEATHS)
def test_it_is_told_though_its_process_dies(
    client: Client, lm: LmServer, way: str, given: Any, reason: str
) -> None:
    put(client, "mortal")
    before = client.programs.get("mortal").revision

    def script(asked: Asked) -> str:
        return chat(answer="last words") if len(lm.asked) > FOUND_AFTER else learns(asked)

    lm.script = script
    metric = {"source": DIES_OF.replace("{way}", way)}
    job = client.optimize("mortal", BARE, TRAINSET, metric, valset=VALSET, **given)
    found = job.result(SECONDS).outputs
    assert found["before"]["score"] == 0.5
    assert found["after"] is None
    assert found["reason"].startswith(f"it could not be scored again: {reason}")
    assert [demo["answer"] for demo in found["state"]["self"]["demos"]] == ["Paris"]
    assert client.programs.get("mortal").revision == before
    put(client, "qa")
    lm.script = lambda _: chat(answer="42")
    assert client.run("qa", {"question": "?"}).outputs == {"answer": "42"}


def test_who_cancels_it_gets_nothing(client: Client, lm: LmServer) -> None:
    put(client, "unwanted")
    begun = threading.Event()

    def script(asked: Asked) -> Reply:
        if len(lm.asked) > FOUND_AFTER:
            begun.set()
            return Reply(learns(asked), delay=100)
        return Reply(learns(asked))

    lm.script = script
    job = client.optimize("unwanted", BARE, TRAINSET, "exact-match", valset=VALSET)
    assert begun.wait(SECONDS)
    job.cancel()
    assert job.wait(SECONDS).state == "cancelled"


def test_outputs_are_shown_as_far_as_there_is_place(client: Client, lm: LmServer) -> None:
    put(client, "wordy")
    lm.script = lambda _: chat(answer="x" * 4000)
    found = client.evaluate("wordy", DATASET * 12, "f1", shown=200).result(SECONDS).outputs
    assert found["count"] == 48
    assert 20 < len(found["items"]) < 40
    assert len(json.dumps(found["items"])) <= 128 * 1024


HANGING: list[tuple[Any, Callable[[Asked], str], str]] = [
    (GEPA, reflects, "new_instruction"),
    (MIPRO, proposes, "proposed_instruction"),
]


@pytest.mark.parametrize(("optimizer", "script", "asks"), HANGING, ids=["GEPA", "MIPROv2"])
def test_what_an_optimiser_asks_for_itself_ends_with_the_time(
    client: Client, lm: LmServer, optimizer: Any, script: Any, asks: str
) -> None:
    put(client, "hanging", instructions="Name the capital.")
    hung: list[Asked] = []

    def hangs(asked: Asked) -> Reply:
        if asks not in asked.prompt:
            return Reply(script(asked))
        hung.append(asked)
        return Reply(script(asked), delay=100)

    lm.script = hangs
    budget = {"seconds": 20}
    job = client.optimize("hanging", optimizer, DATASET, "exact-match", budget=budget)
    found = job.result(SECONDS).outputs
    assert hung
    assert hung[-1].left
    assert found["after"]["score"] == found["before"]["score"] == 0.25


@pytest.mark.parametrize(("optimizer", "script", "asks"), HANGING, ids=["GEPA", "MIPROv2"])
def test_what_a_provider_says_to_an_optimiser_is_not_logged(
    client: Client, lm: LmServer, optimizer: Any, script: Any, asks: str
) -> None:
    put(client, "discreet", instructions="Name the capital.")

    def refuses(asked: Asked) -> Reply:
        if "answer" in asked.last.partition("Respond with")[2]:
            return Reply(script(asked))
        return Reply(status=401, message="no such key: hunter2")

    lm.script = refuses
    job = client.optimize("discreet", optimizer, DATASET, "exact-match")
    job.wait(SECONDS)
    logs = job.logs()
    assert "hunter2" not in logs.stdout + logs.stderr


def test_time_that_one_evaluation_takes_up_is_not_spent_on_more(
    client: Client, lm: LmServer
) -> None:
    put(client, "sluggish")
    lm.script = lambda asked: Reply(learns(asked), delay=4)
    budget = {"seconds": 12}
    job = client.optimize("sluggish", BARE, DATASET, "exact-match", budget=budget, concurrency=2)
    with pytest.raises(Refused, match="too few are left to optimise"):
        job.result(SECONDS)
    assert len(lm.asked) == len(DATASET)
