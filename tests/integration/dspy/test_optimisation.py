"""Optimising a program is a job whose find is the program's next revision."""

import json
import re
import threading
from typing import Any

import pytest
from tests.integration.dspy.test_evaluation import CAPITALS, DATASET, SECONDS
from tests.integration.dspy.test_runs import put
from tests.support.lm_server import Asked, LmServer, Reply, chat

from anypod.client import Client, Refused

TRAINSET, VALSET = DATASET[:2], DATASET


def learns(asked: Asked) -> str:
    """A model that says the country's capital bare once it has seen an answer that does."""
    country = re.findall(r"The capital of (\w+)\?", asked.last)[-1]
    has_example = asked.prompt.count("The capital of") > 1
    easy = country in ("France", "Spain")
    answer = CAPITALS[country] if has_example or easy else f"It is {CAPITALS[country]}, I think."
    return chat(reasoning="I know it.", answer=answer)


def forgets(asked: Asked) -> str:
    """A model that examples only confuse."""
    country = re.findall(r"The capital of (\w+)\?", asked.last)[-1]
    confused = asked.prompt.count("The capital of") > 1
    return chat(answer="All of them." if confused else CAPITALS[country])


def test_what_is_found_is_the_next_revision(client: Client, lm: LmServer) -> None:
    put(client, "learner", module="ChainOfThought", labels={"team": "maps"})
    parent = client.programs.get("learner")
    lm.script = learns
    job = client.optimize("learner", "BootstrapFewShot", TRAINSET, "exact-match", valset=VALSET)
    answer = job.result(SECONDS)
    found = answer.outputs
    assert (found["before"]["score"], found["after"]["score"]) == (0.5, 1.0)
    assert found["parent"] == parent.revision == answer.execution.revision
    assert answer.execution.usage is not None
    assert answer.execution.usage.calls == len(lm.asked) == 2 * len(VALSET) + len(TRAINSET)
    assert job.get().task == "optimize"
    progress = job.get().progress
    assert progress is not None
    assert progress.done == progress.total == 2 * len(VALSET) + len(TRAINSET)
    assert progress.message == "after: score 1.000"

    now = client.programs.get("learner")
    assert now.revision == found["revision"] != parent.revision
    assert now.labels == {"team": "maps"}
    assert now.definition is not None
    assert now.definition["state"] == found["state"]
    demos = found["state"]["predict"]["demos"]
    assert [demo["answer"] for demo in demos] == ["Paris", "Rome"]
    latest, first = client.programs.revisions("learner")
    assert latest.origin is not None
    assert latest.origin.parent == parent.revision
    assert latest.origin.job == job.id
    assert latest.origin.optimizer == "BootstrapFewShot"
    assert latest.origin.metric == "exact-match"
    assert (latest.origin.before, latest.origin.after) == (0.5, 1.0)
    assert first.origin is None

    lm.clear()
    assert client.run("learner", {"question": "The capital of Japan?"}).outputs["answer"] == "Tokyo"
    assert "The capital of Italy?" in lm.asked[0].prompt
    assert client.programs.rollback("learner").revision == parent.revision
    assert client.programs.rollback("learner", now.revision).revision == now.revision


ASKS = """
import dspy

def metric(example, prediction, trace=None):
    asked = dspy.Predict("said, right -> good: bool")
    return asked(said=prediction.answer, right=example.answer).good
"""


def test_a_metric_may_ask_the_lm_and_wait(client: Client, lm: LmServer) -> None:
    put(client, "asked-by-metric")

    def script(asked: Asked) -> str:
        if "`good`" not in asked.prompt:
            return learns(asked)
        said, right = re.findall(r"\[\[ ## (?:said|right) ## \]\]\n(.*)", asked.last)[-2:]
        return chat(good=said == right)

    lm.script = script
    given = client.optimize(
        "asked-by-metric", "BootstrapFewShot", TRAINSET, {"source": ASKS}, valset=VALSET
    )
    found = given.result(SECONDS).outputs
    assert (found["before"]["score"], found["after"]["score"]) == (0.5, 1.0)


def test_demos_are_those_that_the_metric_lets_through(client: Client, lm: LmServer) -> None:
    put(client, "picky")
    lm.script = learns
    source = "def metric(example, prediction):\n    return prediction.answer == example.answer"
    optimizer = {"name": "BootstrapFewShot", "maxLabeledDemos": 0, "maxBootstrappedDemos": 1}
    found = (
        client.optimize("picky", optimizer, [DATASET[1], DATASET[0]], {"source": source})
        .result(SECONDS)
        .outputs
    )
    assert [demo["question"] for demo in found["state"]["self"]["demos"]] == [
        "The capital of France?"
    ]


def test_an_agent_and_a_wrap_are_optimised_too(client: Client, lm: LmServer) -> None:
    tool = "async def capital(country: str) -> str:\n    return {'Italy': 'Rome'}[country]\n"
    put(client, "agent", module="ReAct", tools=[{"name": "capital", "source": tool}])

    def script(asked: Asked) -> str:
        if "[[ ## next_tool_name" not in asked.last:
            return chat(reasoning="", answer="Rome" if "Rome" in asked.last else "?")
        if "observation_0" in asked.last:
            return chat(next_thought="", next_tool_name="finish", next_tool_args={})
        arguments = {"country": "Italy"}
        return chat(next_thought="", next_tool_name="capital", next_tool_args=arguments)

    lm.script = script
    bare = {"name": "BootstrapFewShot", "maxLabeledDemos": 0}
    job = client.optimize("agent", bare, [DATASET[1]], "exact-match")
    found = job.result(SECONDS).outputs
    assert found["revision"] == client.programs.get("agent").revision
    (shown,) = found["state"]["extract.predict"]["demos"]
    assert (shown["answer"], "Rome" in shown["trajectory"]) == ("Rome", True)
    assert "next_tool_name" in found["state"]["react"]["demos"][0]

    reward = "def reward(inputs, outputs):\n    return len(outputs['answer']) < 8\n"
    put(client, "best", wrap={"name": "BestOfN", "attempts": 2, "threshold": 1, "reward": reward})
    lm.script = learns
    found = (
        client.optimize("best", bare, [DATASET[0]], "exact-match", valset=VALSET)
        .result(SECONDS)
        .outputs
    )
    assert (found["before"]["score"], found["after"]["score"]) == (0.5, 1.0)


def test_a_program_stays_as_it_is_when_nothing_better_is_found(
    client: Client, lm: LmServer
) -> None:
    put(client, "confused")
    before = client.programs.get("confused").revision
    lm.script = forgets
    job = client.optimize("confused", "BootstrapFewShot", TRAINSET, "exact-match", valset=VALSET)
    found = job.result(SECONDS).outputs
    assert found["after"]["score"] < found["before"]["score"]
    assert found["revision"] is None
    assert "lower" in found["reason"]
    assert found["state"]["self"]["demos"]
    assert client.programs.get("confused").revision == before


def test_a_change_that_was_made_meanwhile_is_not_undone(client: Client, lm: LmServer) -> None:
    put(client, "moving")
    is_changed = threading.Event()

    def script(asked: Asked) -> str:
        assert is_changed.wait(SECONDS)
        return learns(asked)

    lm.script = script
    job = client.optimize("moving", "BootstrapFewShot", TRAINSET, "exact-match")
    lm.wait_until(lambda server: bool(server.asked))
    put(client, "moving", instructions="Be brief.")
    is_changed.set()
    changed = client.programs.get("moving").revision
    found = job.result(SECONDS).outputs
    assert found["revision"] is None
    assert "changed meanwhile" in found["reason"]
    assert found["state"]["self"]["demos"]
    assert client.programs.get("moving").revision == changed
    assert len(list(client.programs.revisions("moving"))) == 2


def test_the_optimiser_ends_in_time_to_evaluate_what_it_has(client: Client, lm: LmServer) -> None:
    put(client, "thrifty")
    lm.script = learns
    found = (
        client.optimize(
            "thrifty",
            {"name": "BootstrapFewShot", "maxLabeledDemos": 0},
            DATASET,
            "exact-match",
            budget={"lmCalls": 10},
        )
        .result(SECONDS)
        .outputs
    )
    assert len(found["state"]["self"]["demos"]) == 1
    assert found["after"]["count"] == len(DATASET)
    assert len(lm.asked) <= 10
    job = client.optimize(
        "thrifty", "BootstrapFewShot", DATASET, "exact-match", budget={"lmCalls": 6}
    )
    with pytest.raises(Refused, match="too few are left to optimise"):
        job.result(SECONDS)


def test_an_optimiser_whose_time_is_over_is_broken_off(client: Client, lm: LmServer) -> None:
    put(client, "slow")
    hanging = len(DATASET) + 2

    def script(asked: Asked) -> Reply:
        return Reply(learns(asked), delay=100 if len(lm.asked) == hanging else 0)

    lm.script = script
    optimizer = {"name": "BootstrapFewShot", "maxLabeledDemos": 0}
    budget = {"seconds": 15}
    job = client.optimize("slow", optimizer, DATASET, "exact-match", budget=budget)
    found = job.result(SECONDS).outputs
    assert lm.asked[hanging - 1].left
    assert len(found["state"]["self"]["demos"]) == 1
    assert found["after"]["count"] == len(DATASET)


def test_a_cancelled_optimisation_leaves_the_provider_and_the_program(
    client: Client, lm: LmServer
) -> None:
    put(client, "left")
    before = client.programs.get("left").revision

    def script(asked: Asked) -> Reply:
        delay = 100 if len(lm.asked) > len(DATASET) else 0
        return Reply(learns(asked), delay=delay)

    lm.script = script
    job = client.optimize("left", "BootstrapFewShot", DATASET, "exact-match")
    lm.wait_until(lambda server: len(server.asked) > len(DATASET))  # the optimiser asks now
    with lm.left_within(1, -1):
        job.cancel()
    assert job.wait(SECONDS).state == "cancelled"
    assert len(lm.asked) == len(DATASET) + 1
    assert client.programs.get("left").revision == before
    lm.script = learns
    assert client.run("left", {"question": "The capital of France?"}).outputs["answer"] == "Paris"


def reflects(asked: Asked) -> str:
    """A model that does as it is told, and writes instructions after its mistakes."""
    if "new_instruction" in asked.prompt:
        wanted = "the name alone" if "It is Rome, I think." in asked.prompt else "something"
        return json.dumps({"new_instruction": f"Say {wanted}."})
    country = re.findall(r"The capital of (\w+)\?", asked.last)[-1]
    bare = country == "France" or "Say the name alone." in asked.prompt
    return chat(answer=CAPITALS[country] if bare else f"It is {CAPITALS[country]}, I think.")


GEPA = {"name": "GEPA", "maxMetricCalls": 40}


def test_instructions_are_written_by_reflection(client: Client, lm: LmServer) -> None:
    put(client, "reflective", instructions="Name the capital.")
    lm.script = reflects
    job = client.optimize("reflective", GEPA, DATASET, "exact-match", concurrency=3)
    answer = job.result(SECONDS)
    found = answer.outputs
    assert found["state"] == {"self": {"instructions": "Say the name alone."}}
    assert (found["before"]["score"], found["after"]["score"]) == (0.25, 1.0)
    assert lm.most_at_once <= 3
    assert answer.execution.usage is not None
    assert answer.execution.usage.calls == len(lm.asked)
    assert answer.execution.usage.prompt_tokens == 11 * len(lm.asked)
    (reflection, *_) = [asked for asked in lm.asked if "new_instruction" in asked.prompt]
    assert "Expected was" in reflection.prompt
    assert reflection.body["temperature"] == 1.0
    latest, _ = client.programs.revisions("reflective")
    assert latest.origin is not None
    assert latest.origin.optimizer == "GEPA"
    assert client.programs.get("reflective").revision == found["revision"]


def test_a_metric_tells_the_reflecting_model_what_was_wrong(client: Client, lm: LmServer) -> None:
    put(client, "told", instructions="Name the capital.")
    lm.script = reflects
    source = """
import dspy

def metric(example, prediction):
    good = prediction.answer == example.answer
    told = "" if good else "Nobody asked what you think."
    return dspy.Prediction(score=float(good), feedback=told)
"""
    found = client.optimize("told", GEPA, DATASET, {"source": source}).result(SECONDS).outputs
    assert found["after"]["score"] == 1.0
    reflection = next(asked for asked in lm.asked if "new_instruction" in asked.prompt)
    assert "Nobody asked what you think." in reflection.prompt


def proposes(asked: Asked) -> str:
    """A model that, asked for anything but a capital, says what makes capitals bare."""
    wanted = re.findall(r"\[\[ ## (\w+) ## \]\]", asked.last.partition("Respond with")[2])
    if "answer" in wanted:
        return reflects(asked)
    return chat(**{name: "Say the name alone." for name in wanted if name != "completed"})


MIPRO = {"name": "MIPROv2", "candidates": 2, "trials": 4, "maxLabeledDemos": 1}


def test_demos_and_instructions_are_found_together(client: Client, lm: LmServer) -> None:
    put(client, "both", instructions="Name the capital.")
    lm.script = proposes
    job = client.optimize("both", MIPRO, TRAINSET, "exact-match", valset=VALSET, concurrency=3)
    answer = job.result(SECONDS)
    found = answer.outputs
    assert found["state"]["self"]["instructions"] == "Say the name alone."
    assert (found["before"]["score"], found["after"]["score"]) == (0.25, 1.0)
    assert answer.execution.usage is not None
    assert answer.execution.usage.calls == len(lm.asked)
    assert answer.execution.usage.prompt_tokens == 11 * len(lm.asked)
    assert client.programs.get("both").revision == found["revision"]


def test_a_budget_that_ends_before_anything_is_found_changes_nothing(
    client: Client, lm: LmServer
) -> None:
    put(client, "short", instructions="Name the capital.")
    before = client.programs.get("short").revision
    lm.script = proposes
    job = client.optimize(
        "short", MIPRO, TRAINSET, "exact-match", valset=VALSET, budget={"lmCalls": 10}
    )
    found = job.result(SECONDS).outputs
    assert len(lm.asked) <= 10
    assert found["revision"] is None
    assert found["before"]["score"] == found["after"]["score"] == 0.25
    assert client.programs.get("short").revision == before


def test_reflection_ends_with_the_budget(client: Client, lm: LmServer) -> None:
    put(client, "brief", instructions="Name the capital.")
    lm.script = reflects
    job = client.optimize("brief", GEPA, DATASET, "exact-match", budget={"lmCalls": 13})
    found = job.result(SECONDS).outputs
    assert len(lm.asked) <= 13
    assert found["after"]["count"] == len(DATASET)


def test_a_cancelled_reflection_leaves_no_thread_waiting(client: Client, lm: LmServer) -> None:
    put(client, "broken-off")

    def script(asked: Asked) -> Reply:
        return Reply(reflects(asked), delay=100 if len(lm.asked) > len(DATASET) else 0)

    lm.script = script
    job = client.optimize("broken-off", GEPA, DATASET, "exact-match", concurrency=2)
    lm.wait_until(lambda server: len(server.asked) == len(DATASET) + 2)
    job.cancel()
    lm.wait_until(lambda server: all(asked.left for asked in server.asked[len(DATASET) :]))
    assert job.wait(SECONDS).state == "cancelled"
    assert len(lm.asked) == len(DATASET) + 2


def test_a_threshold_of_zero_lets_every_answer_be_a_demo(client: Client, lm: LmServer) -> None:
    put(client, "lenient")
    lm.script = lambda _: chat(answer="I do not know.")
    optimizer = {"name": "BootstrapFewShot", "maxLabeledDemos": 0, "threshold": 0}
    job = client.optimize("lenient", optimizer, TRAINSET, "exact-match")
    demos = job.result(SECONDS).outputs["state"]["self"]["demos"]
    assert [demo["answer"] for demo in demos] == ["I do not know."] * 2


def test_an_older_revision_is_not_optimised(client: Client, lm: LmServer) -> None:
    put(client, "outdated")
    older = client.programs.get("outdated").revision
    put(client, "outdated", instructions="Be brief.")
    with pytest.raises(Refused) as refused:
        client.optimize(f"outdated@{older}", "BootstrapFewShot", TRAINSET, "exact-match")
    assert refused.value.type == "revision-conflict"
    assert "roll back" in refused.value.problem.detail
    assert not lm.asked
    latest = client.programs.get("outdated").revision
    job = client.optimize(f"outdated@{latest}", "BootstrapFewShot", TRAINSET, "f1")
    job.cancel()
    assert job.wait(SECONDS).state == "cancelled"


BAD = [
    ({"optimizer": "COPRO"}, "optimizer.name"),
    ({"optimizer": {"name": "MIPROv2", "maxRounds": 2}}, "optimizer"),
    ({"optimizer": {"name": "BootstrapFewShot", "depth": 7}}, "optimizer.depth"),
    ({"optimizer": {"name": "BootstrapFewShot", "maxRounds": 99}}, "optimizer.maxRounds"),
    ({"optimizer": {"name": "GEPA", "maxRounds": 2}}, "optimizer"),
    ({"trainset": []}, "trainset"),
    ({"valset": [{"inputs": {"question": "?"}}]}, "valset.0.expected.answer"),
]


@pytest.mark.parametrize(("wrong", "path"), BAD)
def test_what_cannot_be_optimised_is_refused_at_once(
    client: Client, lm: LmServer, wrong: dict[str, Any], path: str
) -> None:
    put(client, "refused")
    given = {"optimizer": "BootstrapFewShot", "trainset": DATASET, "metric": "f1", **wrong}
    with pytest.raises(Refused) as refused:
        client.optimize("refused", **given)
    assert refused.value.status == 422
    assert refused.value.problem.path == path
    assert not lm.asked
    if path == "optimizer.name":
        assert "BootstrapFewShot" in refused.value.problem.detail


def test_no_key_is_in_what_an_optimisation_leaves(client: Client, lm: LmServer) -> None:
    put(client, "clean")
    lm.script = learns
    job = client.optimize("clean", "BootstrapFewShot", TRAINSET, "exact-match")
    told = [json.dumps(job.result(SECONDS).outputs), job.logs().stdout, job.logs().stderr]
    assert lm.asked[0].key
    assert not [text for text in told if lm.asked[0].key in text]
