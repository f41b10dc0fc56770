"""The LM of a session, what is counted, and who is shown what an LM said."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from tests.integration.dspy.conftest import KEYS
from tests.support.lm_server import LmServer, Reply, chat

from anypod.client import Client, LmFailed, Refused


@pytest.fixture(autouse=True)
def program(client: Client) -> None:
    client.programs.put(
        "qa", kind="dspy", signature="question -> answer", lm={"name": "lm2", "temperature": 0.5}
    )


def test_a_session_asks_the_lm_that_was_chosen_for_it(client: Client, lm: LmServer) -> None:
    session = client.session("choosy")
    told = session.choose_lm(name="lm3", max_tokens=50)
    assert (told.name, told.temperature, told.max_tokens) == ("lm3", None, 50)
    session.run("qa", {"question": "?"})
    session.run("qa", {"question": "?"}, lm="lm4")
    client.run("qa", {"question": "?"})
    models = [(asked.model, asked.key) for asked in lm.asked]
    assert models == [(name, KEYS[name]) for name in ("lm3", "lm4", "lm2")]
    assert [asked.body.get("max_tokens") for asked in lm.asked[:2]] == [50, 50]
    assert {asked.body["temperature"] for asked in lm.asked} == {0.5}
    chosen = session.get().lm
    assert chosen is not None
    assert chosen.name == "lm3"


def test_the_choice_changes_and_ends_with_the_session(client: Client, lm: LmServer) -> None:
    session = client.session("fickle")
    session.run("qa", {"question": "?"})
    session.choose_lm(name="slow")
    session.run("qa", {"question": "?"})
    session.choose_lm()
    session.run("qa", {"question": "?"})
    session.choose_lm(name="slow")
    session.end()
    session.run("qa", {"question": "?"})
    assert [asked.model for asked in lm.asked] == ["lm2", "slow", "lm2", "lm2"]
    assert session.get().lm is None


def test_a_session_can_only_choose_what_the_pool_declares(client: Client) -> None:
    with pytest.raises(Refused, match="no LM 'none'"):
        client.session("wrong").choose_lm(name="none")
    with pytest.raises(Refused, match="less than or equal to 2"):
        client.session("wrong").choose_lm(temperature=7)


def metric(pool: str, name: str) -> float:
    with urllib.request.urlopen(f"{pool}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def test_what_is_asked_of_an_lm_is_counted_by_its_name(
    pool: str, client: Client, lm: LmServer
) -> None:
    calls = 'anypod_lm_calls_total{lm="lm5",pool="default"}'
    tokens = 'anypod_lm_tokens_total{kind="prompt",lm="lm5",pool="default"}'
    before = metric(pool, calls), metric(pool, tokens)
    lm.then(Reply(status=503), Reply(chat(answer="x"), prompt_tokens=100), Reply(status=401))
    client.run("qa", {"question": "?"}, lm="lm5")
    with pytest.raises(LmFailed):
        client.run("qa", {"question": "?"}, lm="lm5")
    assert metric(pool, calls) - before[0] == 3
    assert metric(pool, tokens) - before[1] == 100
    cost = 'anypod_lm_cost_dollars_total{lm="fast",pool="default"}'
    dear = metric(pool, cost)
    lm.then(Reply(chat(answer="x"), prompt_tokens=10**6, completion_tokens=0))
    client.run("qa", {"question": "?"}, lm="fast")
    assert metric(pool, cost) - dear == pytest.approx(1.0)


def test_problems_of_lms_are_documented_with_every_run(pool: str) -> None:
    with urllib.request.urlopen(f"{pool}/openapi.json", timeout=30) as answer:
        document = json.load(answer)
    run = document["paths"]["/v1/pools/{pool}/programs/{program_ref}/run"]["post"]
    assert "lm-rate-limited" in run["responses"]["429"]["description"]
    create = document["paths"]["/v1/pools/{pool}/programs"]["post"]
    references = create["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    assert [one["$ref"].rpartition("/")[2] for one in references] == [
        "CreateProgram",
        "CreateDspyProgram",
    ]


def test_the_command_line_chooses_an_lm_and_shows_a_definition(pool: str, lm: LmServer) -> None:
    def anypod(*arguments: str) -> str:
        command = [str(Path(sys.executable).with_name("anypod")), *arguments, "--url", pool]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=True
        ).stdout

    assert json.loads(anypod("run", "qa", "question=?", "--lm", "lm6")) == {"answer": "42"}
    assert [asked.model for asked in lm.asked] == ["lm6"]
    shown = json.loads(anypod("programs", "get", "qa", "--source"))
    assert (shown["kind"], shown["lm"]["name"]) == ("dspy", "lm2")
    assert "qa" in anypod("programs", "list")
