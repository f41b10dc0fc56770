"""Commands that take their time: at low priority, with a deadline, and loud when they fail."""

import os
import subprocess
from collections.abc import Mapping

BUILD_SECONDS = 1800.0
QUICK_SECONDS = 120.0
_LAST_LINES = 40


class CannotBuild(RuntimeError):
    """This machine lacks what building an image takes; the reason, in one line."""


class CommandFailed(RuntimeError):
    """With the last lines of what the command printed."""


def run(
    *command: str | os.PathLike[str],
    seconds: float = BUILD_SECONDS,
    env: Mapping[str, str] | None = None,
) -> str:
    """What it prints on stdout. Raises CommandFailed; TimeoutExpired."""
    done = subprocess.run(
        ["nice", *(os.fspath(part) for part in command)],
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
    )
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-_LAST_LINES:])
        raise CommandFailed(f"{command[0]} ended with {done.returncode}:\n{said}")
    return done.stdout
