"""What takes a while is said while it goes on; what does not is not."""

import io
import re
import sys
import threading

import pytest
from tests.cluster import telling
from tests.cluster.waiting import wait_until


def test_what_is_done_at_once_is_not_spoken_of(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "SILENT_SECONDS", 3600.0)
    with telling.step("counting"):
        pass
    assert capfd.readouterr() == ("", "")


def test_what_takes_long_is_said_before_it_is_over_and_then_how_long_it_took(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telling, "SILENT_SECONDS", 0.0)
    said = io.StringIO()  # capfd would lose what is written while it is read
    monkeypatch.setattr(sys, "stderr", said)
    with telling.step("counting"):
        wait_until(lambda: said.getvalue() == "counting ...\n", "it is said", 60)
    assert re.fullmatch(r"counting \.\.\.\ncounting: \d+\.\d s\n", said.getvalue())


def test_a_step_that_fails_does_not_say_that_it_is_done(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "SILENT_SECONDS", 0.0)
    with pytest.raises(ZeroDivisionError), telling.step("counting"):
        raise ZeroDivisionError
    assert "s\n" not in capfd.readouterr().err


def test_nothing_is_said_of_a_step_that_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that still says it would write into what others have closed by then."""
    monkeypatch.setattr(telling, "SILENT_SECONDS", 0.0)
    before = threading.active_count()
    for _ in range(100):
        with telling.step("counting"):
            pass
        assert threading.active_count() == before
