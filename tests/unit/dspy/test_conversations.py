"""Turns of a conversation are what the program's fields are, given or kept."""

import pytest
from tests.support import dspy_runs
from tests.support.lm_server import LmServer

from anypod.session import Session
from anypod_worker.runtime.inputs import Rejected

TALK = "question, history: History -> answer"


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
