"""Calling a program of this machine: with a deadline, and with its own words when it fails.

It ends with whoever called it, however that ends: it must not go on writing what others clear away.
"""

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_LAST_LINES = 40
_SHOWN = 200


class CommandFailed(RuntimeError):
    """It could not be started, ended with another status than 0, or did not end in time."""


def run(
    *command: str | os.PathLike[str],
    seconds: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """What it prints on stdout; its environment is ours, or ``env``. Raises CommandFailed alone."""
    done = attempt(*command, seconds=seconds, env=env, cwd=cwd)
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-_LAST_LINES:]).strip()
        words = [os.fspath(part) for part in command]
        raise CommandFailed(f"{_shown(words)} ended with {done.returncode}: {said}")
    return done.stdout


def attempt(
    *command: str | os.PathLike[str],
    seconds: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """For who looks at the status. Raises CommandFailed if there is none."""
    words = [os.fspath(part) for part in command]
    try:
        return subprocess.run(
            [*_ending_with_us(words[0], env), *words],
            env=None if env is None else dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        late = f"{_shown(words)} did not end in {seconds:g} s: is this machine overloaded?"
        raise CommandFailed(late) from expired
    except OSError as error:
        raise CommandFailed(f"{_shown(words)} cannot be started: {error.strerror}") from error


def ending_with_us() -> Sequence[str]:
    """Before a command: it ends with the thread that starts it, also if that is killed."""
    setpriv = shutil.which("setpriv")
    return () if setpriv is None else (setpriv, "--pdeathsig=KILL", "--")


def _ending_with_us(program: str, env: Mapping[str, str] | None) -> Sequence[str]:
    """Not before a program that is not there, of which setpriv would tell in its own words."""
    path = None if env is None else env.get("PATH", os.defpath)
    return ending_with_us() if shutil.which(program, path=path) else ()


def _shown(words: list[str]) -> str:
    whole = shlex.join(words)
    return whole if len(whole) <= _SHOWN else f"{whole[:_SHOWN]} ..."
