"""Server-sent events are read as the standard says, however they are cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anypod.client.events import EventParser, EventTooLarge, ServerSentEvent


def parse(*pieces: bytes) -> list[ServerSentEvent]:
    parser = EventParser()
    return [event for piece in pieces for event in parser.feed(piece)]


def test_an_event_has_the_name_and_the_data_of_its_fields() -> None:
    assert parse(b"event: chunk\ndata: 1\n\n") == [ServerSentEvent("chunk", "1")]


def test_several_data_lines_are_one_value_with_line_ends_between() -> None:
    assert parse(b"data: a\ndata:\ndata:  b\n\n") == [ServerSentEvent("message", "a\n\n b")]


def test_comments_unknown_fields_and_events_without_data_give_nothing() -> None:
    assert parse(b": still running\n\nid: 7\nretry: 1\nevent: chunk\n\ndata: x\n\n") == [
        ServerSentEvent("message", "x", "7")
    ]


def test_an_event_that_the_end_cuts_off_is_none() -> None:
    assert parse(b"data: a\n\ndata: b\n") == [ServerSentEvent("message", "a")]


def test_a_byte_order_mark_at_the_start_is_no_part_of_a_field() -> None:
    assert parse(b"\xef", b"\xbb\xbfdata: a\n\n") == [ServerSentEvent("message", "a")]


def test_other_unicode_line_ends_are_data() -> None:
    text = "a\u2028b\x0bc\x85d"
    assert parse(f"data: {text}\n\n".encode()) == [ServerSentEvent("message", text)]


def test_an_event_beyond_the_bound_is_refused_and_many_small_ones_are_not() -> None:
    parser = EventParser(max_event_bytes=100)
    small = b": comment\nevent: chunk\ndata: 1234567890\n\n" * 100
    assert len(list(parser.feed(small))) == 100
    with pytest.raises(EventTooLarge):
        list(parser.feed(b"data: " + b"x" * 60 + b"\ndata: " + b"x" * 60))


lines = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=20)
sent = st.lists(
    st.tuples(
        st.sampled_from(["chunk", "log", "result", "message"]),
        st.lists(lines, min_size=1, max_size=4),
        lines,
    ),
    max_size=5,
)


@given(
    sent=sent,
    line_end=st.sampled_from(["\n", "\r", "\r\n"]),
    cuts=st.lists(st.integers(0, 400), max_size=12),
)
def test_what_was_written_is_read_whatever_the_cuts_and_line_ends(
    sent: list[tuple[str, list[str], str]], line_end: str, cuts: list[int]
) -> None:
    text = "".join(
        f": {comment}{line_end}event: {name}{line_end}"
        + "".join(f"data: {line}{line_end}" for line in data)
        + line_end
        for name, data, comment in sent
    )
    stream = text.encode()
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in itertools.pairwise(places)]
    assert parse(*pieces) == [ServerSentEvent(name, "\n".join(data)) for name, data, _ in sent]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_the_same_whole_and_one_by_one(data: bytes) -> None:
    assert parse(data) == parse(*[data[at : at + 1] for at in range(len(data))])
