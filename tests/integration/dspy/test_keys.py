"""The keys of LMs are in nothing that leaves a worker, whatever a program does with them."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.integration.dspy.conftest import KEYS
from tests.support.lm_server import LmServer, Reply, chat

from anypod.client import AnyPodError, Chunk, Client

KEY = KEYS["fast"]
FINDS = """
def find(how: str) -> str:
    import dspy, logging, os, sys
    key = dspy.settings.lm.kwargs["api_key"]
    if how == "print":
        print("the key is", key)
        print("and again", key, file=sys.stderr)
        half = len(key) // 2
        os.write(1, key[:half].encode())
        os.write(1, key[half:].encode() + b"\\n")
        logging.getLogger("some.library").error("key %s", key)
    if how == "raise":
        raise ValueError(key)
    return key
"""
REWARD = """
def reward(inputs, outputs):
    import dspy
    raise ValueError("with " + dspy.settings.lm.kwargs["api_key"])
"""


def found_in(*documents: Any) -> list[str]:
    text = "\n".join(str(document) for document in documents)
    return [key for key in KEYS.values() if key in text]


@pytest.fixture
def agent(client: Client, lm: LmServer) -> str:
    """A program whose tool tells its LM the key, and whose LM repeats all that it is told."""
    client.programs.put(
        "finder",
        kind="dspy",
        signature="question, history: History -> answer",
        module="ReAct",
        tools=[{"name": "find", "source": FINDS}],
    )

    def script(asked: Any) -> str:
        if "[[ ## next_tool_name" not in asked.last:
            heard = asked.last.replace("[[ ##", "(").replace("## ]]", ")")
            return chat(reasoning=heard, answer=heard)
        if KEY in asked.last or "Execution error" in asked.last:
            return chat(next_thought="done", next_tool_name="finish", next_tool_args={})
        how = asked.last.split("how: ")[1].split()[0]
        return chat(next_thought="", next_tool_name="find", next_tool_args={"how": how})

    lm.script = script
    return "finder"


@pytest.mark.parametrize("how", ["print", "raise", "return"])
def test_a_key_that_a_program_finds_does_not_leave(
    client: Client, lm: LmServer, agent: str, folder: Path, how: str
) -> None:
    inputs = {"question": f"how: {how} please"}
    answer = client.run(agent, inputs, logs=True)
    assert any(KEY in asked.prompt for asked in lm.asked), "the tool has found it"
    assert "[an LM's key]" in json.dumps(answer.outputs)
    assert found_in(answer) == []
    if how == "print":
        assert answer.execution.logs is not None
        assert answer.execution.logs.stdout.count("[an LM's key]") == 2
        assert "[an LM's key]" in answer.execution.logs.stderr
    with client.stream(agent, inputs, logs=True) as events:
        assert found_in(*events) == []
    client.run(agent, inputs, session=f"keys-{how}")
    assert found_in(client.sessions.get(f"keys-{how}").state) == []
    assert found_in((folder / "up.log").read_text()) == []


@pytest.mark.parametrize("piece", [1, 4, 30])
def test_a_key_that_an_lm_says_piece_by_piece_does_not_leave(
    client: Client, lm: LmServer, piece: int
) -> None:
    """Nor its beginning; all the rest comes as it was said."""
    client.programs.put("says", kind="dspy", signature="question -> first, second")
    lm.script = lambda _: Reply(
        chat(first=f"I was told {KEY}; sk-", second=f"{KEY} and no sk-fast"), piece=piece
    )
    with client.stream("says", {"question": "?"}) as events:
        said = [event.data for event in events if isinstance(event, Chunk)]
    texts = {
        name: "".join(item["text"] for item in said if item["field"] == name)
        for name in ("first", "second")
    }
    words = "[an LM's key]".ljust(len(KEY), "*")
    assert texts["first"].startswith(f"I was told {words}; sk-")
    assert texts["second"].startswith(f"{words} and no sk-fast")
    assert KEY[:8] not in str(texts)


def test_no_error_tells_a_key(client: Client, lm: LmServer, folder: Path) -> None:
    client.programs.put("qa", kind="dspy", signature="question -> answer")
    client.programs.put(
        "raises",
        kind="dspy",
        signature="question -> answer",
        wrap={"name": "BestOfN", "threshold": 1, "reward": REWARD},
    )
    told = []
    for reply in (
        Reply(status=401, message=f"Incorrect API key provided: {KEY}"),
        Reply(status=400, message=f"do not send {KEY}"),
        Reply(status=429, message=f"{KEY} is too fast", retry_after=99),
        Reply(f"my key is {KEY}"),
        Reply(chat(answer="x"), cut_after=0),
    ):
        lm.clear()
        lm.then(reply, reply)
        with pytest.raises(AnyPodError) as caught:
            client.run("qa", {"question": "?"})
        told.append(caught.value.problem)
    with pytest.raises(AnyPodError) as caught:
        client.run("raises", {"question": "?"})
    told.append(caught.value.problem)
    assert caught.value.problem.traceback is not None
    assert "[an LM's key]" in caught.value.problem.traceback
    assert found_in(*told) == []
    assert found_in((folder / "up.log").read_text()) == []


def test_python_programs_have_no_key_in_their_environment(client: Client) -> None:
    source = "import os, json\ndef main():\n    return {**os.environ}\n"
    environment = client.run_source(source, inputs={}).outputs
    assert found_in(environment) == []
    assert not [name for name in environment if name.endswith("_KEY")]


def test_neither_the_store_nor_the_pool_tells_a_key(client: Client, folder: Path) -> None:
    assert found_in(client.pools.get("default"), *client.programs.list()) == []
    for file in (folder / ".anypod").rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert not [key for key in KEYS.values() if key.encode() in data], file
