"""A command that fails says which it was and why; nothing else is ever raised."""

import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from tests.cluster import commands
from tests.cluster.commands import CommandFailed
from tests.cluster.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
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


@pytest.mark.skipif(not shutil.which("setpriv"), reason="no setpriv")
def test_it_ends_with_its_caller_even_if_that_is_killed(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    lives = f"echo $$ > {told}.draft; mv {told}.draft {told}; exec sleep 600"
    calls = f"from tests.cluster import commands; commands.run('sh', '-c', {lives!r}, seconds=600)"
    with subprocess.Popen([sys.executable, "-c", calls], cwd=ROOT) as caller:
        wait_until(told.exists, "the command runs", 60)
        caller.kill()
    pid = told.read_text().strip()
    wait_until(lambda: not has_a_command(pid), "the command has ended", 60)


def has_a_command(pid: str) -> bool:
    """Not one that has ended, and was not reaped yet."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path("/proc", pid, "cmdline").read_bytes() != b""
    return False
