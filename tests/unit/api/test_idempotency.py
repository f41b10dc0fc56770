"""An Idempotency-Key is read as the draft writes it, or bare."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anypod.api.idempotency import BadKey, header_of, key_of

PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=255)


@given(PRINTABLE)
def test_a_key_survives_its_header(key: str) -> None:
    assert key_of(header_of(key)) == key


@given(st.text(max_size=300))
def test_whatever_comes_is_a_key_or_is_refused(header: str) -> None:
    try:
        key = key_of(header)
    except BadKey:
        return
    assert 1 <= len(key) <= 255
    assert key.isascii()
    assert key.isprintable()


def test_quotes_are_no_part_of_it() -> None:
    assert key_of('"abc"') == key_of("abc") == key_of(" abc\t") == "abc"


@pytest.mark.parametrize(
    "header", ["", '""', '"abc', 'abc"', '"a"b"', '"\\a"', "a b", "a\nb", '"a\x7f"', "é", "x" * 256]
)
def test_what_is_no_key_is_refused(header: str) -> None:
    with pytest.raises(BadKey, match="Idempotency-Key"):
        key_of(header)
