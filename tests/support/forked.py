"""Runs a piece of a test in a fork made ready as an executor, so that what programs do to their
process, and signals, do not reach the tests'."""

import contextlib
import faulthandler
import logging
import os
import pickle
import select
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from anypod_worker.runtime import interrupts
from anypod_worker.runtime.containment import Baseline, prepare

T = TypeVar("T")

DEADLINE_SECONDS = 60.0


@dataclass
class Ended:
    """What came of the fork."""

    value: Any
    """What the body returned."""
    stdout: str
    stderr: str


def in_executor(body: Callable[[Baseline], T]) -> Ended:
    """Call ``body`` in a child that is an executor in all that concerns the runtime.

    What it returns is pickled. Fails if it raises, ends otherwise, or takes too long.
    """
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, name) for name in ("stdout", "stderr")]
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(ours)
            _child(body, outputs, theirs)
        os.close(theirs)
        try:
            data = _all_of(ours, time.monotonic() + DEADLINE_SECONDS)
        finally:
            os.close(ours)
            os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # what the program has started
            _, status = os.waitpid(pid, 0)
        printed = [path.read_text(errors="backslashreplace") for path in outputs]
    assert data, f"the fork ended with status {status}; it printed {printed}"
    failed, value = pickle.loads(data)
    assert not failed, value
    return Ended(value, *printed)


def _child(body: Callable[[Baseline], Any], outputs: list[Path], result: int) -> None:
    try:
        os.setsid()
        for fd, path in zip((1, 2), outputs, strict=True):
            opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(opened, fd)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        faulthandler.dump_traceback_later(DEADLINE_SECONDS - 5, file=2)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        logging.root.handlers.clear()  # those of pytest
        warnings.resetwarnings()
        interrupts.install()
        prepare()
        outcome = (False, body(Baseline.capture()))
    except BaseException:
        outcome = (True, traceback.format_exc())
    os.write(result, pickle.dumps(outcome))
    os._exit(0)


def _all_of(fd: int, until: float) -> bytes:
    """Up to the end of what the child says, or to the deadline."""
    data = b""
    while True:
        ready, _, _ = select.select([fd], [], [], max(0.0, until - time.monotonic()))
        more = os.read(fd, 1 << 20) if ready else b""
        if not more:
            return data
        data += more
        try:
            pickle.loads(data)
        except (pickle.UnpicklingError, EOFError):
            continue
        return data


@contextlib.contextmanager
def interrupted_when(ready: Path) -> Iterator[None]:
    """Sends this process SIGINT once the file exists, and again, as a supervisor does: one can
    come just before a system call that blocks, and go unnoticed."""
    target = os.getpid()
    pid = os.fork()
    if pid == 0:
        while not ready.exists():
            time.sleep(0.005)
        while True:
            os.kill(target, signal.SIGINT)
            time.sleep(0.2)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
