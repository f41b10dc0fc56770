"""Every module, wrap and adapter, by what the LM is asked and what comes of it."""

import json
from typing import Any

import pytest
from tests.support.lm_server import Asked, LmServer, Reply, chat

from anypod.client import AnyPodError, Client, InvalidInputs, InvalidProgram, LmFailed

ADD = "def add(a: int, b: int) -> int:\n    'Add two numbers.'\n    return a + b\n"
SLOW = (
    "import asyncio\nasync def slow(x: str) -> str:\n    await asyncio.sleep(0)\n    return x * 2\n"
)
FAILS = "def fails():\n    raise ValueError('no luck today')\n"
LONGEST = "def reward(inputs, outputs):\n    return len(outputs['answer'])\n"


def put(client: Client, id_: str, **given: Any) -> Any:
    return client.programs.put(id_, kind="dspy", **{"signature": "question -> answer", **given})


def step(thought: str, tool: str, **arguments: Any) -> str:
    return chat(next_thought=thought, next_tool_name=tool, next_tool_args=arguments)


def tools(*sources: str) -> list[dict[str, str]]:
    names = [source.split("def ")[1].split("(")[0] for source in sources]
    return [{"name": name, "source": source} for name, source in zip(names, sources, strict=True)]


def test_an_agent_calls_its_tools_until_it_is_done(client: Client, lm: LmServer) -> None:
    put(client, "agent", module="ReAct", tools=tools(ADD, SLOW, FAILS))
    lm.then(
        step("add first", "add", a=2, b=3),
        step("then that", "slow", x="ab"),
        step("and that", "fails"),
        step("done", "finish"),
        chat(reasoning="so it is", answer="5"),
    )
    answer = client.run("agent", {"question": "2 + 3?"})
    assert answer.outputs == {"reasoning": "so it is", "answer": "5"}
    assert answer.execution.usage is not None
    assert answer.execution.usage.calls == 5
    told = lm.asked[-1].prompt
    assert "Add two numbers." in lm.asked[0].prompt
    assert "abab" in told
    assert "no luck today" in told


def test_an_agent_stops_after_its_turns(client: Client, lm: LmServer) -> None:
    put(client, "agent", module={"name": "ReAct", "maxIters": 2}, tools=tools(ADD))
    lm.then(*[step("on", "add", a=1, b=1)] * 2, chat(reasoning="enough", answer="2"))
    assert client.run("agent", {"question": "?"}).outputs["answer"] == "2"
    assert len(lm.asked) == 3


def test_a_tool_that_there_is_not_is_an_unusable_reply(client: Client, lm: LmServer) -> None:
    put(client, "agent", module="ReAct", tools=tools(ADD))
    lm.then(step("off", "subtract", a=1, b=1))
    with pytest.raises(LmFailed) as caught:
        client.run("agent", {"question": "?"})
    assert caught.value.type == "model-output-unusable"


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("import nothing_of_that_name\ndef add(a: int) -> int:\n    return a\n", 1),
        ("def add(a: Undefined) -> int:\n    return a\n", 1),
    ],
)
def test_a_tool_that_cannot_be_defined_is_refused(client: Client, source: str, line: int) -> None:
    with pytest.raises(InvalidProgram) as caught:
        put(client, "bad", module="ReAct", tools=tools(ADD.replace("add", "plus"), source))
    problem = caught.value.problem
    assert problem.path == "tools.1.source"
    assert problem.line == line
    assert "tools/add.py" in (problem.traceback or "")


def test_the_best_of_more_attempts_is_taken(client: Client, lm: LmServer) -> None:
    wrap = {"name": "BestOfN", "attempts": 3, "threshold": 100, "reward": LONGEST}
    put(client, "best", wrap=wrap)
    lm.then(chat(answer="ab"), chat(answer="abcd"), chat(answer="a"))
    answer = client.run("best", {"question": "?"})
    assert answer.outputs == {"answer": "abcd"}
    assert answer.execution.usage is not None
    assert answer.execution.usage.calls == 3
    assert {asked.body["temperature"] for asked in lm.asked} == {1.0}


@pytest.mark.parametrize("temperature", [0, 0.25])
def test_attempts_are_made_at_the_temperature_that_a_run_or_its_session_says(
    client: Client, lm: LmServer, temperature: float
) -> None:
    wrap = {"name": "BestOfN", "attempts": 2, "threshold": 100, "reward": LONGEST}
    put(client, "best", wrap=wrap, lm={"temperature": 0.5})
    client.run("best", {"question": "?"}, lm={"temperature": temperature})
    session = client.session(f"at-{temperature}")
    session.choose_lm(temperature=temperature)
    session.run("best", {"question": "?"})
    client.run("best", {"question": "?"})
    assert [asked.body["temperature"] for asked in lm.asked] == [*[temperature] * 4, 1.0, 1.0]


def test_what_is_good_enough_ends_the_search(client: Client, lm: LmServer) -> None:
    put(client, "best", wrap={"name": "BestOfN", "threshold": 3, "reward": LONGEST})
    lm.then("nonsense", chat(answer="abcd"))
    assert client.run("best", {"question": "?"}).outputs == {"answer": "abcd"}
    assert len(lm.asked) == 2


def test_no_usable_attempt_is_an_unusable_reply(client: Client, lm: LmServer) -> None:
    put(client, "best", wrap={"name": "BestOfN", "attempts": 2, "threshold": 3, "reward": LONGEST})
    lm.then("nonsense", "more of it")
    with pytest.raises(LmFailed) as caught:
        client.run("best", {"question": "?"})
    assert caught.value.problem.model_output == "more of it"


def test_a_reward_that_fails_is_the_programs_own_fault(client: Client, lm: LmServer) -> None:
    reward = "def reward(inputs, outputs):\n    return outputs['other']\n"
    put(client, "best", wrap={"name": "BestOfN", "threshold": 3, "reward": reward})
    with pytest.raises(AnyPodError) as caught:
        client.run("best", {"question": "?"})
    problem = caught.value.problem
    assert (problem.type, problem.exception) == ("program-error", "KeyError")
    assert 'File "wrap/reward.py", line 2' in (problem.traceback or "")


def test_refine_tells_the_next_attempt_what_was_wrong(client: Client, lm: LmServer) -> None:
    put(client, "refined", wrap={"name": "Refine", "threshold": 4, "reward": LONGEST})
    lm.then(
        chat(answer="ab"),
        chat(discussion="too short", advice={"self": "Say all four letters."}),
        chat(answer="abcd"),
    )
    assert client.run("refined", {"question": "?"}).outputs == {"answer": "abcd"}
    assert "Say all four letters." in lm.asked[2].prompt
    assert "Say all four letters." not in lm.asked[0].prompt


def test_several_answers_are_compared(client: Client, lm: LmServer) -> None:
    put(client, "compared", module={"name": "MultiChainComparison", "candidates": 3})

    def script(asked: Asked) -> str:
        if "reasoning_attempt_1" in asked.prompt:
            return chat(rationale="the most say so", answer="42")
        return chat(reasoning="I guess", answer="41")

    lm.script = script
    answer = client.run("compared", {"question": "?"})
    assert answer.outputs == {"answer": "42"}
    assert len(lm.asked) == 4
    assert "my prediction is 41" in lm.asked[-1].prompt


@pytest.mark.parametrize(
    ("adapter", "reply"),
    [
        ("json", json.dumps({"answer": "42"})),
        ("xml", "<answer>\n42\n</answer>"),
        ("chat", chat(answer="42")),
    ],
)
def test_an_adapter_has_a_form_of_its_own(
    client: Client, lm: LmServer, adapter: str, reply: str
) -> None:
    put(client, "form", adapter=adapter)
    lm.script = lambda _: reply
    assert client.run("form", {"question": "?"}).outputs == {"answer": "42"}


def test_a_state_brings_demos_and_instructions(client: Client, lm: LmServer) -> None:
    demos = [{"question": "one plus one?", "answer": "2"}]
    state = {"self": {"instructions": "Answer like a sage.", "demos": demos}}
    put(client, "tuned", state=state)
    client.run("tuned", {"question": "two plus two?"})
    prompt = lm.asked[0].prompt
    assert "Answer like a sage." in prompt
    assert "one plus one?" in prompt


def test_a_state_of_an_agent_must_name_its_tools(client: Client) -> None:
    state = {"react": {"instructions": "Use subtract for everything."}}
    with pytest.raises(InvalidProgram, match="name the tool 'add'") as caught:
        put(client, "agent", module="ReAct", tools=tools(ADD), state=state)
    assert caught.value.problem.path == "state.react.instructions"


def test_an_image_goes_as_an_image(client: Client, lm: LmServer) -> None:
    put(client, "eye", signature="picture: Image -> answer")
    pixel = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    client.run("eye", {"picture": {"url": pixel}})
    parts = lm.asked[0].body["messages"][-1]["content"]
    assert any(part.get("type") == "image_url" for part in parts)


@pytest.mark.parametrize(
    "url",
    ["/etc/hostname", "file:///etc/hostname", "http://169.254.169.254/latest", "data:text/x,"],
)
def test_no_image_is_fetched(client: Client, lm: LmServer, url: str) -> None:
    put(client, "eye", signature="picture: Image -> answer")
    with pytest.raises(InvalidInputs):
        client.run("eye", {"picture": {"url": url}})
    assert lm.asked == []


def test_tokens_are_streamed_by_field(client: Client, lm: LmServer) -> None:
    put(client, "talk", signature="question -> title, answer")
    lm.then(Reply(chat(title="Numbers", answer="It is forty-two, as always."), piece=3))
    with client.stream("talk", {"question": "?"}) as events:
        *chunks, last = list(events)
    pieces: dict[str, str] = {}
    for chunk in chunks:
        field, text = chunk.data["field"], chunk.data["text"]
        pieces[field] = pieces.get(field, "") + text
    outputs = {"title": "Numbers", "answer": "It is forty-two, as always."}
    assert pieces == outputs
    assert len(chunks) > 4
    assert last.outputs == outputs
    assert last.execution.usage.completion_tokens == 7


def test_a_reasoning_is_streamed_too(client: Client, lm: LmServer) -> None:
    put(client, "think", module="ChainOfThought")
    outputs = {"reasoning": "Six times seven, as always.", "answer": "It is 42."}
    lm.then(Reply(chat(**outputs), piece=3))
    with client.stream("think", {"question": "?"}) as events:
        *chunks, last = list(events)
    pieces = dict.fromkeys(outputs, "")
    for chunk in chunks:
        pieces[chunk.data["field"]] += chunk.data["text"]
    assert pieces == outputs == last.outputs
    assert len(chunks) > 8


def test_an_agent_streams_its_answer_and_not_its_thoughts(client: Client, lm: LmServer) -> None:
    put(client, "agent", module="ReAct", tools=tools(ADD))
    lm.then(step("done", "finish"), chat(reasoning="so it is", answer="five"))
    with client.stream("agent", {"question": "?"}) as events:
        *chunks, last = list(events)
    assert "".join(chunk.data["text"] for chunk in chunks) == "five"
    assert last.outputs == {"reasoning": "so it is", "answer": "five"}


def test_a_stream_that_is_cut_ends_with_a_problem(client: Client, lm: LmServer) -> None:
    put(client, "talk")
    lm.then(Reply(chat(answer="It is forty-two, as always."), cut_after=10))
    seen: list[Any] = []
    with pytest.raises(LmFailed) as caught, client.stream("talk", {"question": "?"}) as events:
        seen.extend(events)
    assert caught.value.type == "lm-unavailable"
    assert seen
    assert len(lm.asked) == 1


@pytest.mark.parametrize(
    ("replies", "module"),
    [
        ([Reply(chat(answer="never said"), cut_after=0)], {}),
        ([Reply(status=503)], {}),
        (
            [Reply(step("a thought", "finish"), cut_after=3), step("done", "finish")],
            {"module": "ReAct", "tools": tools(ADD)},
        ),
    ],
)
def test_a_stream_of_which_nothing_was_shown_is_asked_for_again(
    client: Client, lm: LmServer, replies: list[Reply | str], module: dict[str, Any]
) -> None:
    put(client, "talk", **module)
    lm.then(*replies, chat(reasoning="so it is", answer="five"))
    with client.stream("talk", {"question": "?"}) as events:
        *chunks, last = list(events)
    assert "".join(chunk.data["text"] for chunk in chunks) == "five"
    assert last.outputs["answer"] == "five"
    assert len(lm.asked) == len(replies) + 1
    assert last.execution.usage.calls == len(lm.asked)


def test_who_leaves_a_stream_leaves_the_provider(client: Client, lm: LmServer) -> None:
    put(client, "talk")
    lm.then(Reply(chat(answer="and so on " * 100), piece_delay=0.05))
    with client.stream("talk", {"question": "?"}) as events:
        next(iter(events))
        with lm.left_within(1):
            events.close()


def test_a_wrapped_program_streams_only_its_end(client: Client, lm: LmServer) -> None:
    put(client, "best", wrap={"name": "BestOfN", "threshold": 1, "reward": LONGEST})
    with client.stream("best", {"question": "?"}) as events:
        (last,) = list(events)
    assert last.outputs == {"answer": "42"}  # type: ignore[union-attr]


def test_a_conversation_is_kept_in_its_session(client: Client, lm: LmServer) -> None:
    put(client, "chat", signature="question, history: History -> answer", historyTurns=2)
    session = client.session("talk-1")
    for number in range(3):
        lm.then(chat(answer=f"answer {number}"))
        session.run("chat", {"question": f"question {number}"})
    assert "answer 0" not in lm.asked[0].prompt
    assert "answer 0" in lm.asked[1].prompt
    client.run("chat", {"question": "alone"})
    assert "answer 0" not in lm.asked[3].prompt
    assert client.sessions.get("talk-1").state == {
        "history": [
            {"question": "question 1", "answer": "answer 1"},
            {"question": "question 2", "answer": "answer 2"},
        ]
    }


def test_a_conversation_goes_on_when_its_session_has_no_more_place(
    client: Client, lm: LmServer
) -> None:
    put(client, "chat", signature="question, history: History -> answer")
    session = client.session("talk-4")
    for number in range(7):
        session.run("chat", {"question": f"{number} {'x' * 200_000}"})
    state = session.get().state
    assert [turn["question"][0] for turn in state["history"]] == ["5", "6"]
    assert len(lm.asked) == 7


def test_what_a_python_program_keeps_there_does_no_harm(client: Client, lm: LmServer) -> None:
    put(client, "chat", signature="question, history: History, day: date -> answer")
    session = client.session("mixed")
    session.run_source("def main(session): session.state['history'] = 5")
    session.run("chat", {"question": "?", "day": "2026-01-31"})
    turn = {"question": "?", "day": "2026-01-31", "answer": "42"}
    assert session.get().state == {"history": [turn]}


def test_a_conversation_goes_on_though_the_lm_has_said_what_no_lm_is_told(
    client: Client, lm: LmServer
) -> None:
    put(client, "chat", signature="question, history: History -> answer")
    session = client.session("talk-3")
    lm.then(chat(answer="half of \ud83d"))
    assert session.run("chat", {"question": "one?"}).outputs == {"answer": "half of \ud83d"}
    assert session.run("chat", {"question": "two?"}).outputs == {"answer": "42"}
    assert "half of \ufffd" in lm.asked[1].prompt


def test_without_a_session_the_conversation_may_be_given(client: Client, lm: LmServer) -> None:
    put(client, "chat", signature="question, history: History -> answer")
    turns = [{"question": "one?", "answer": "uno"}, {"unknown": "x"}]
    client.run("chat", {"question": "two?", "history": turns})
    assert "uno" in lm.asked[0].prompt
    with pytest.raises(AnyPodError, match="the session keeps the conversation"):
        client.run("chat", {"question": "two?", "history": turns}, session="talk-2")


def test_a_field_of_a_type_may_be_missing_when_it_has_a_default(
    client: Client, lm: LmServer
) -> None:
    fields = [
        {"name": "name"},
        {"name": "size", "type": "int | None", "default": None},
        {"name": "since", "type": "date", "default": "2024-02-29"},
    ]
    thing = {"description": "What there is.", "fields": fields}
    put(client, "defaults", signature="given: Thing -> thing: Thing", types={"Thing": thing})
    lm.then(chat(thing={"name": "chair", "size": 3}))
    answer = client.run("defaults", {"given": {"name": "table"}})
    assert answer.outputs == {"thing": {"name": "chair", "size": 3, "since": "2024-02-29"}}
    assert "What there is." in lm.asked[0].prompt
    assert '"since": "2024-02-29"' in lm.asked[0].prompt
    document = client.programs.get("defaults")
    assert client.programs.put("defaults", kind="dspy", **document.definition).revision == (
        document.revision
    )


def test_a_default_that_does_not_fit_is_refused(client: Client) -> None:
    fields = [{"name": "name"}, {"name": "size", "type": "int", "default": "big"}]
    with pytest.raises(InvalidProgram, match="unable to parse string as an integer") as caught:
        put(client, "bad", signature="q -> thing: Thing", types={"Thing": {"fields": fields}})
    assert caught.value.problem.path == "types.Thing.fields.1.default"
