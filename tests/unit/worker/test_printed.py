"""What an execution prints is kept up to its limit, whole characters, and counted beyond."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anypod_worker.keys import Keys
from anypod_worker.printed import Printed


@given(st.text(max_size=200), st.lists(st.integers(1, 20), max_size=30))
def test_text_is_whole_however_the_bytes_come(text: str, cuts: list[int]) -> None:
    heard: list[str] = []
    printed = Printed("x", 10_000, lambda _stream, piece: heard.append(piece))
    data = text.encode()
    for cut in cuts:
        printed.add("stdout", data[:cut])
        data = data[cut:]
    printed.add("stdout", data)
    printed.end()
    assert printed.output().stdout == text
    assert "".join(heard) == text
    assert printed.output().cut_bytes == 0


@given(st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(max_size=50))))
def test_the_limit_is_for_both_streams_together(pieces: list[tuple[str, bytes]]) -> None:
    printed = Printed("x", 64, None)
    for stream, data in pieces:
        printed.add(stream, data)  # type: ignore[arg-type]
    printed.end()
    total = sum(len(data) for _, data in pieces)
    assert printed.output().cut_bytes == max(0, total - 64)


def test_bytes_that_are_not_text_are_replaced() -> None:
    printed = Printed("x", 100, None)
    printed.add("stderr", b"a\xffb\xe2\x82")
    printed.end()
    assert printed.output().stderr == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"


def test_lines_are_logged_whole_under_the_execution(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "anypod.worker"):
        printed = Printed("x-1", 20, None)
        for piece in (b"one\ntw", b"o\nthree", b"x" * 50):
            printed.add("stdout", piece)
        printed.end()
    lines = [(r.getMessage(), r.fields) for r in caplog.records]  # type: ignore[attr-defined]
    under = {"execution": "x-1", "stream": "stdout"}
    assert lines == [
        ("one", under),
        ("two", under),
        ("threexxxxxxx", under),
        ("output was cut", {"execution": "x-1", "cut_bytes": 43}),
    ]


def test_an_endless_line_is_logged_in_pieces(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "anypod.worker"):
        printed = Printed("x-1", 1_000_000, None)
        for _ in range(100):
            printed.add("stdout", b"y" * 1000)
        printed.end()
    assert len(caplog.records) > 5
    assert sum(len(record.getMessage()) for record in caplog.records) == 100_000


@given(st.integers(1, 80), st.lists(st.integers(1, 9), max_size=9))
def test_a_key_is_replaced_before_the_limit_cuts_it(limit: int, cuts: list[int]) -> None:
    key = "sk-0123456789abcdef"
    printed = Printed("x", limit, None, Keys({"fast": key}))
    data = f"the key: {key}, and {key} again".encode()
    for cut in cuts:
        printed.add("stdout", data[:cut])
        data = data[cut:]
    printed.add("stdout", data)
    printed.end()
    told = printed.output().stdout
    assert len(told) == min(limit, 9 + 2 * len(key) + 12)
    assert "sk-" not in told
