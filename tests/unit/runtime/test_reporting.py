"""``anypod.progress`` by itself."""

from collections.abc import Iterator

import pytest

from anypod import progress, reporting

Said = list[tuple[float, float | None, str]]


@pytest.fixture
def said() -> Iterator[Said]:
    heard: Said = []
    reporting.listen(lambda *what: heard.append(what))
    yield heard
    reporting.listen(None)


def test_what_comes_too_soon_is_dropped_unless_all_is_done(said: Said) -> None:
    progress(1, 3, "first")
    progress(2, 3, "too soon")
    progress(3, 3, "all")
    assert said == [(1.0, 3.0, "first"), (3.0, 3.0, "all")]


def test_a_message_is_text_that_can_be_sent(said: Said) -> None:
    progress(2, message="\ud800")
    assert said[-1] == (2.0, None, "?")


@pytest.mark.parametrize("numbers", [(float("nan"), None), (1, float("inf"))])
def test_only_finite_numbers_are_progress(said: Said, numbers: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        progress(*numbers)
    assert said == []


def test_without_a_listener_it_does_nothing() -> None:
    progress(1, 2)
