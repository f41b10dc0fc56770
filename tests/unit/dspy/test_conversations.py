"""Turns of a conversation are what the program's fields are, given or kept."""

import pytest
from tests.support import dspy_runs
from tests.support.lm_server import LmServer, chat

from anypod.session import Session
from anypod_worker.kinds.dspy import history
from anypod_worker.runtime import outputs
from anypod_worker.runtime.inputs import Rejected
from anypod_worker.runtime.running import STATE_LIMIT

TALK = "question, history: History -> answer"
SEEN = "question, picture: Image, history: History -> answer"
KIB = 1024


def size_of(value: object) -> int:
    return len(outputs.encode(value, limit=STATE_LIMIT))


def picture(size: int) -> dict[str, str]:
    return {"url": f"data:image/png;base64,{'A' * size}"}


@pytest.mark.parametrize(
    ("turn", "path"),
    [
        ({"question": "?", "answer": [1]}, "inputs.history.1.answer"),
        ({"question": 5, "answer": "five"}, "inputs.history.1.question"),
        ("no turn", "inputs.history.1"),
    ],
)
def test_a_given_turn_that_does_not_fit_is_refused_by_its_place(
    lm: LmServer, turn: object, path: str
) -> None:
    talk = dspy_runs.plan(lm.url, signature=TALK)
    turns = [{"question": "?", "answer": "42"}, turn]
    with pytest.raises(Rejected) as caught:
        dspy_runs.run(talk, question="?", history=turns)
    assert (caught.value.failure.type, caught.value.failure.path) == ("invalid-inputs", path)
    assert lm.asked == []


def test_kept_turns_of_other_types_are_not_shown(lm: LmServer) -> None:
    before = dspy_runs.plan(lm.url, signature="question: list[int], history: History -> answer")
    now = dspy_runs.plan(lm.url, signature=TALK)
    session = Session("s")
    dspy_runs.run(before, session, question=[17, 4])
    dspy_runs.run(now, session, question="what now?")
    dspy_runs.run(now, session, question="and now?")
    assert "17" in lm.asked[0].prompt
    assert "17" not in lm.asked[2].prompt
    assert "what now?" in lm.asked[2].prompt


@pytest.mark.parametrize("adapter", ["chat", "json"])
def test_no_value_of_a_turn_is_taken_for_calls_of_tools(lm: LmServer, adapter: str) -> None:
    lm.script = lambda _: "[[ ## answer ## ]]\n42" if adapter == "chat" else '{"answer": "42"}'
    talk = dspy_runs.plan(
        lm.url, signature="said: dict, history: History -> answer", adapter=adapter
    )
    for calls in (5, [{"id": "1", "name": "pay", "args": {}}]):
        turn = {"said": {"tool_calls": calls, "tool_call_results": None}, "answer": "a turn"}
        dspy_runs.run(talk, said={}, history=[turn])
        assert {message["role"] for message in lm.asked[-1].body["messages"]} == {
            "system", "user", "assistant"
        }  # fmt: skip
        assert "tool_call_results" in lm.asked[-1].prompt


def test_a_demo_is_shown_without_its_conversation(lm: LmServer) -> None:
    demo = {"question": "before?", "history": [{"question": "earlier?"}], "answer": "so"}
    talk = dspy_runs.plan(lm.url, signature=TALK, state={"self": {"demos": [demo]}})
    dspy_runs.run(talk, question="?", history=[])
    assert "before?" in lm.asked[0].prompt
    assert "earlier?" not in lm.asked[0].prompt


def test_a_long_conversation_loses_its_oldest_turns_and_goes_on(lm: LmServer) -> None:
    talk, session = dspy_runs.plan(lm.url, signature=TALK), Session("s")
    lm.script = lambda _: chat(answer="é" * 50 * KIB)
    for number in range(8):
        dspy_runs.run(talk, session, question=f"question {number} {'x' * 50 * KIB}")
        assert size_of(session.state) < STATE_LIMIT
    turns = session.state["history"]
    assert [turn["question"][:10] for turn in turns] == ["question 5", "question 6", "question 7"]
    assert size_of(turns) <= history._MOST < size_of([*turns, turns[0]])
    assert "question 4" in lm.asked[7].prompt
    assert "question 3" not in lm.asked[7].prompt


def test_images_of_a_conversation_count_as_they_are_kept(lm: LmServer) -> None:
    talk, session = dspy_runs.plan(lm.url, signature=SEEN), Session("s")
    for number in range(4):
        dspy_runs.run(talk, session, question=str(number), picture=picture(200 * KIB))
    assert [turn["question"] for turn in session.state["history"]] == ["2", "3"]
    assert session.state["history"][1]["picture"] == picture(200 * KIB)


def test_a_turn_without_place_is_not_kept_and_the_next_ones_are(lm: LmServer) -> None:
    talk, session = dspy_runs.plan(lm.url, signature=SEEN), Session("s")
    for size, kept in ((16, 1), (600 * KIB, 0), (16, 1)):
        dspy_runs.run(talk, session, question="?", picture=picture(size))
        assert len(session.state["history"]) == kept


def test_a_conversation_takes_the_place_that_the_rest_of_a_state_leaves(lm: LmServer) -> None:
    talk, session = dspy_runs.plan(lm.url, signature=TALK), Session("s")
    session.state["notes"] = "n" * 700 * KIB
    for number in range(5):
        dspy_runs.run(talk, session, question=f"{number} {'x' * 100 * KIB}")
    assert [turn["question"][0] for turn in session.state["history"]] == ["3", "4"]
    session.state["notes"] = "n" * 1000 * KIB
    dspy_runs.run(talk, session, question="?")
    assert session.state["history"] == []
    assert size_of(session.state) < STATE_LIMIT
