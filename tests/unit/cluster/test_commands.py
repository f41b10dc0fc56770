"""A command that fails says which it was and why; nothing else is ever raised."""

import sys

import pytest
from tests.cluster import commands
from tests.cluster.commands import CommandFailed

PYTHON = (sys.executable, "-c")


def test_what_it_prints_is_returned_and_its_environment_is_ours_or_the_given() -> None:
    show = "import os; print(os.environ.get('GIVEN'), 'PATH' in os.environ)"
    assert commands.run(*PYTHON, show, seconds=60) == "None True\n"
    assert commands.run(*PYTHON, show, seconds=60, env={"GIVEN": "here"}) == "here False\n"


def test_its_own_words_are_told_when_it_fails() -> None:
    with pytest.raises(CommandFailed, match=r"ended with 1: no such thing"):
        commands.run(*PYTHON, "import sys; sys.exit('no such thing')", seconds=60)


def test_a_status_can_be_looked_at() -> None:
    assert commands.attempt(*PYTHON, "raise SystemExit(3)", seconds=60).returncode == 3


def test_what_does_not_end_in_time_is_said_with_the_time() -> None:
    with pytest.raises(CommandFailed, match=r"time\.sleep.* did not end in 0\.2 s"):
        commands.run(*PYTHON, "import time; time.sleep(60)", seconds=0.2)


def test_a_program_that_is_not_there_is_said() -> None:
    with pytest.raises(CommandFailed, match=r"no-such-program cannot be started: No such file"):
        commands.run("no-such-program", seconds=60)
