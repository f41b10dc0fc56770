"""Keys of LMs are replaced on their way out, in one piece or in two; nothing else is changed."""

from hypothesis import given
from hypothesis import strategies as st

from anypod.wire.messages import Failure
from anypod_worker.keys import NO_KEYS, Hiding, Keys

KEY = "sk-0123456789abc"
LONGER = KEY + "def"
WORDS = "[an LM's key]***"
KEYS = Keys({"fast": KEY, "slow": LONGER, "local": "none"})

texts = st.lists(st.sampled_from([KEY, LONGER, KEY[:5], "s", "none", "\n", "text "]), max_size=8)


def test_a_key_becomes_words() -> None:
    assert KEYS.hidden(f'{{"a": "{KEY}"}}'.encode()).decode() == f'{{"a": "{WORDS}"}}'
    assert KEYS.hidden(LONGER.encode()).decode() == f"{WORDS}***"


def test_a_placeholder_is_ordinary_text() -> None:
    assert KEYS.hidden(b"there are none") == b"there are none"
    assert not Keys({"local": "none"}).hides
    assert not NO_KEYS.hides
    assert KEYS.hides


def test_a_failure_has_no_key_in_any_of_its_texts() -> None:
    failure = Failure(
        "program-error",
        f"with {KEY}",
        message=KEY,
        traceback=f"line 1\n  {KEY}",
        errors=[{"path": "a", "message": KEY}],
        model_output=KEY,
    )
    hidden = KEYS.hidden_in(failure)
    assert KEY not in repr(hidden)
    assert hidden.traceback == f"line 1\n  {WORDS}"
    plain = Failure("program-error", "without")
    assert KEYS.hidden_in(plain) is plain


@given(texts, st.integers(1, 7))
def test_a_stream_hides_as_the_whole_does(parts: list[str], size: int) -> None:
    whole = "".join(parts).encode()
    hiding = Hiding(KEYS)
    pieces = [hiding.feed(whole[n : n + size]) for n in range(0, len(whole), size)]
    told = b"".join(pieces) + hiding.end()
    assert KEY.encode() not in told
    assert len(told) == len(whole)
    if KEY.encode() not in whole:
        assert told == whole
