"""Lines are the same however their bytes are cut; of what is too long nothing is kept."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from anypod.api.ndjson import LineSplitter

LONGEST = 12

text = st.lists(st.sampled_from([b"\n", b"\r", b" ", b"{", b"\xc3", b"\x00", b"ab"])).map(b"".join)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


def split(pieces: list[bytes]) -> list[bytes | None]:
    splitter = LineSplitter(LONGEST)
    found = [line for piece in pieces for line in splitter.feed(piece)]
    return [*found, *splitter.end()]


@given(text, st.lists(st.integers(0, 1000)))
def test_any_cut_gives_the_lines_of_the_whole(data: bytes, places: list[int]) -> None:
    *lines, last = data.split(b"\n")
    whole = [*lines, last] if last else lines
    expected = [line if len(line) <= LONGEST else None for line in whole]
    assert split(cut(data, places)) == expected


@given(st.lists(st.integers(1, 50)))
def test_of_a_line_that_is_too_long_nothing_is_kept(sizes: list[int]) -> None:
    splitter = LineSplitter(LONGEST)
    for size in sizes:
        assert list(splitter.feed(b"x" * size)) == []
        assert sum(map(len, splitter._parts)) <= LONGEST
    assert list(splitter.feed(b"\nshort\n"))[-1] == b"short"


def test_lines_are_looked_for_only_as_they_are_asked_for() -> None:
    lines = LineSplitter(LONGEST).feed(b"1\n2\n3")
    assert next(lines) == b"1"
    assert next(lines) == b"2"
