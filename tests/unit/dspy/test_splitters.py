"""However a reply is cut, what is told of each output is what the adapter reads in the end."""

from collections.abc import Sequence
from typing import Any

import dspy
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support import dspy_runs
from tests.support.lm_server import LmServer, Reply

from anypod.dspy.spec import AdapterName
from anypod_worker.kinds.dspy import modules, splitters

FIELDS = ("title", "answer")
SIGNATURE = dspy.Signature("question -> title: str, count: int, answer: str")
FORMS: tuple[AdapterName, ...] = ("chat", "json", "xml")
MARKS = ["[[", "]]", "[[ ## ", " ## ]]", "[[ ## x ## ]]", "<", ">", "</", "&", "&amp;", "<b>",
         "</b>", "<answer>", "</answer>", "<![CDATA[", "]]>", "{", "}", '"', "'", "\\", "\\n",
         "\\u00e9", "\\ud83d", "\\ude00", ":", ",", "[", "]", "```json", "```"]  # fmt: skip
SPACES = [" ", "\n", "\r\n", "\r", "\t", "\u2028", "\x0b"]
PARTS = [*MARKS, *SPACES, "answer", "a", "true", "5", "é", "😀", "if [[ -f x ]]; then a[[0]]"]
TEXTS = st.lists(st.sampled_from(PARTS), max_size=8).map("".join)
CUTS = st.lists(st.integers(1, 9), min_size=1, max_size=8)
few = settings(max_examples=40, deadline=None)


def pieces(text: str, lengths: Sequence[int]) -> list[str]:
    found, begin = [], 0
    while begin < len(text):
        length = lengths[len(found) % len(lengths)]
        found.append(text[begin : begin + length])
        begin += length
    return found


def told(form: AdapterName, reply: str, lengths: Sequence[int]) -> dict[str, str]:
    splitter = splitters.splitter(form, FIELDS)
    found = dict.fromkeys(FIELDS, "")
    for piece in pieces(reply, lengths):
        for field, text in splitter.feed(piece):
            assert text
            found[field] += text
    return found


@pytest.mark.parametrize("form", FORMS)
@few
@given(title=TEXTS, answer=TEXTS, lengths=CUTS)
@example(title="Numbers", answer="if [[ -f x ]]; then a[[0]]", lengths=[1])
@example(title="Numbers", answer="if [[ -f x ]]; then a[[0]]", lengths=[1000])
@example(title='"\\', answer="😀 \\u00e9", lengths=[1, 2])
def test_pieces_are_the_outputs(
    form: AdapterName, title: str, answer: str, lengths: list[int]
) -> None:
    adapter = modules.adapter(form)
    outputs = {"title": title, "count": 3, "answer": answer}
    reply = adapter.format_assistant_message_content(SIGNATURE, outputs)
    try:
        read = adapter.parse(SIGNATURE, reply)
    except dspy.AdapterParseError:  # the answer has a header or so in it
        return
    assert told(form, reply, lengths) == {name: read[name] for name in FIELDS}


@pytest.mark.parametrize("form", FORMS)
@few
@given(parts=st.lists(TEXTS | st.sampled_from(PARTS), max_size=12), lengths=CUTS)
def test_what_is_told_of_any_reply_is_how_an_output_begins(
    form: AdapterName, parts: list[str], lengths: list[int]
) -> None:
    reply = "".join(parts)
    found = told(form, reply, lengths)
    try:
        read = modules.adapter(form).parse(dspy.Signature("question -> answer: str"), reply)
    except dspy.AdapterParseError:
        return
    assert found == told(form, reply, [1]), "it depends on where the reply is cut"
    assert str(read["answer"]).lstrip().startswith(found["answer"].lstrip())


@pytest.mark.parametrize(
    "reply",
    [
        '```json\n{"count": 3, "title": "Numbers", "answer": "It is."}\n```',
        '{"title": "Numbers", "answer": "It \\u0069\\u0073.", "count": "\\ud83d"}',
        ' {"more": {"answer": ["no", {"title": "\\""}]}, "title":"Numbers", "answer" : "It is."}',
    ],
)
@pytest.mark.parametrize("length", [1, 2, 3, 1000])
def test_members_of_an_object_are_told_wherever_they_stand(reply: str, length: int) -> None:
    assert told("json", reply, [length]) == {"title": "Numbers", "answer": "It is."}


def say(form: AdapterName, **outputs: Any) -> str:
    signature = dspy.Signature(f"question -> {', '.join(outputs)}")
    reply: str = modules.adapter(form).format_assistant_message_content(signature, outputs)
    return reply


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("piece", [1, 3, 7, 10_000])
def test_a_stream_has_the_outputs_by_field(lm: LmServer, form: AdapterName, piece: int) -> None:
    outputs = {"title": 'The "half" of it', "answer": "if [[ -f x ]]; then a[[0]] < 5 && b\n\nfi"}
    plan = dspy_runs.plan(lm.url, signature="question -> title, answer", adapter=form)
    lm.then(Reply(say(form, **outputs), piece=piece))
    pieces, last = dspy_runs.stream(plan, question="?")
    joined = dict.fromkeys(outputs, "")
    for field, text in pieces:
        joined[field] += text
    assert joined == last == outputs
    assert piece > 100 or len(pieces) > len(outputs)
    assert len(lm.asked) == 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("signature", ["question -> answer", "question -> answer: int"])
def test_a_reasoning_is_told_while_it_is_said_and_apart_from_the_answer(
    lm: LmServer, form: AdapterName, signature: str
) -> None:
    outputs = {"reasoning": "Six times seven:\n\nthat is 42.", "answer": "42"}
    plan = dspy_runs.plan(lm.url, module="ChainOfThought", signature=signature, adapter=form)
    lm.then(Reply(say(form, **outputs), piece=5))
    pieces, last = dspy_runs.stream(plan, question="?")
    joined: dict[str, str] = {}
    for field, text in pieces:
        joined[field] = joined.get(field, "") + text
    assert joined["reasoning"] == last["reasoning"] == outputs["reasoning"]
    assert sum(field == "reasoning" for field, _ in pieces) > 4
    told = {} if last["answer"] == 42 else {"answer": "42"}
    assert joined == {"reasoning": outputs["reasoning"], **told}
    assert [field for field, _ in pieces] == sorted((field for field, _ in pieces), reverse=True)


@pytest.mark.parametrize(
    ("form", "reply", "answer"),
    [
        ("json", "Sure: {'answer': 'It is.'}", "It is."),
        ("json", '{"answer": "She said "no" to it"}', None),
        ("json", '{"answer": 5}', "5"),
        ("xml", "<answer>\nIt <b>is</b>.\n</answer>", None),
        ("chat", "[[ ## answer ## ]]\nIt is. [[ ##", "It is. [[ ##"),
    ],
)
def test_what_was_not_clear_comes_at_the_end(
    lm: LmServer, form: AdapterName, reply: str, answer: str | None
) -> None:
    plan = dspy_runs.plan(lm.url, adapter=form)
    lm.then(Reply(reply, piece=3))
    pieces, last = dspy_runs.stream(plan, question="?")
    assert answer in (None, last["answer"])
    assert "".join(text for _, text in pieces) == last["answer"].lstrip()


@pytest.mark.parametrize("form", FORMS)
def test_a_reply_of_no_form_is_told_at_once(lm: LmServer, form: AdapterName) -> None:
    lm.script = lambda _: "I would rather not say."
    plan = dspy_runs.plan(lm.url, adapter=form)
    for ask in (dspy_runs.run, dspy_runs.stream):
        lm.asked.clear()
        with pytest.raises(Exception, match="not the form"):
            ask(plan, question="?")
        assert len(lm.asked) == 1
