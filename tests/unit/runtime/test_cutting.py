"""Nothing of a key is left where text was cut."""

from collections.abc import Iterator

import pytest

from anypod_worker.runtime import cutting

KEY = "sk-0123456789abcdef"


@pytest.fixture(autouse=True, scope="module")
def keys() -> Iterator[None]:
    cutting.hide({"fast": KEY})
    yield
    cutting.forget()


@pytest.mark.parametrize("before", range(0, 40, 3))
@pytest.mark.parametrize("after", [0, 5, 40])
def test_a_key_at_a_cut_is_hidden_first(before: int, after: int) -> None:
    text = "é" * before + KEY + "\udc80" * after
    for length in range(2, len(text)):
        _see_cut(text, before, length)


def _see_cut(text: str, before: int, length: int) -> None:
    told = cutting.beginning(text, length)
    assert len(told) == length
    assert "sk-" not in told
    assert told[:before] == text[: min(before, length)]
    start, _, end = cutting.ends(text, length).partition(" characters ...]\n")
    assert len(start.partition("\n[... ")[0]) == length // 2
    assert len(end) == length // 2
    assert "sk-" not in start
    assert "def" not in end


def test_what_is_cut_nowhere_is_left_alone() -> None:
    assert cutting.beginning(KEY, len(KEY)) == cutting.ends(KEY, len(KEY)) == KEY


def test_a_run_that_was_told_no_key_has_none_to_hide() -> None:
    cutting.forget()
    assert cutting.beginning(KEY, 4) == "sk-0"
    cutting.hide({"fast": KEY})
