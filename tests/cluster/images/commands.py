"""Commands of a build: at low priority, and with time enough for a slow network."""

import os
from collections.abc import Mapping

from tests.cluster import commands
from tests.cluster.commands import CommandFailed

__all__ = ["BUILD_SECONDS", "QUICK_SECONDS", "CannotBuild", "CommandFailed", "run"]

BUILD_SECONDS = 1800.0
QUICK_SECONDS = 120.0


class CannotBuild(RuntimeError):
    """This machine lacks what building an image takes; the reason, in one line."""


def run(
    *command: str | os.PathLike[str],
    seconds: float = BUILD_SECONDS,
    env: Mapping[str, str] | None = None,
) -> str:
    """What it prints on stdout. Raises CommandFailed."""
    return commands.run("nice", *command, seconds=seconds, env={**os.environ, **(env or {})})
