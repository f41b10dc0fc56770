"""A whole local pool: ``anypod up`` as a process, with its log and its family tree.

``local_pool`` starts one on a free port and stops it afterwards; nothing of it may be left then.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from anypod.client import Client
from anypod.local import processes

ANYPOD = Path(sys.executable).parent / "anypod"
IMPATIENT = (sys.executable, Path(__file__).with_name("impatient_up.py"))
"""For the pools of tests that wait until something is taken for dead."""
IMPATIENT_GATEWAY = (sys.executable, Path(__file__).with_name("up_with_impatient_gateway.py"))
"""For those of tests that wait until another gateway takes over what one had."""
PATIENCE = 90.0
"""Seconds that anything may take on a busy machine before a test gives up on it."""
POLL = 0.05
"""Seconds between two looks, which may read a log and all of /proc."""

T = TypeVar("T")


def eventually(look: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """The first true value of ``look``."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(POLL)
    return found


def is_running(pid: int) -> bool:
    """A zombie does not run."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat[stat.rindex(b")") + 2 :].split()[0] not in {b"Z", b"X"}


def command_of(pid: int) -> str:
    """What the kernel calls it (15 characters), and its command line."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
    return f"{name} {line}"


@dataclass
class LocalPool:
    directory: Path
    process: subprocess.Popen[bytes]
    seen: set[int] = field(default_factory=set)
    """Every process of it that a look has found."""
    _heard: int = 0
    """Characters of the log that are past."""

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log_file(self) -> Path:
        return self.directory / "stderr"

    @property
    def url(self) -> str:
        return str(self._announced()["url"])

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self, pool: str = "default", **options: Any) -> Client:
        return Client(self.url, pool, **options)

    def _announced(self) -> dict[str, Any]:
        def look() -> dict[str, Any]:
            self._alive()
            with contextlib.suppress(OSError, ValueError):
                found = json.loads((self.directory / ".anypod/run/up.json").read_text())
                if found["pid"] == self.pid:
                    return dict(found)
            return {}

        return eventually(look, "the pool announces itself")

    # what it says

    def log(self) -> str:
        return self._whole_log()[self._heard :]

    def _whole_log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def forget_log(self) -> None:
        """What it says is from here on."""
        self._heard += len(self.log())

    def said(self) -> list[dict[str, Any]]:
        """What the launcher itself has logged."""
        found = []
        for line in self.log().splitlines():
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                if isinstance(record, dict) and record.get("source") == "local":
                    found.append(record)
        return found

    def wait_for(self, text: str, times: int = 1) -> dict[str, Any]:
        """The launcher's message that contains the text, for the n-th time."""

        def look() -> dict[str, Any] | None:
            found = [record for record in self.said() if text in record["message"]]
            if len(found) < times:
                self._alive()
                return None
            return found[times - 1]

        found = eventually(look, f"{text!r} is said; it said:\n{self.log()}")
        assert found is not None
        return found

    def ready(self) -> "LocalPool":
        self.wait_for("ready after")
        return self

    def _alive(self) -> None:
        code = self.process.poll()
        assert code is None, f"anypod up ended with {code}:\n{self.log()}"

    # who it is

    def family(self) -> list[int]:
        """Everybody below the launcher now, parents before children."""
        found = processes.below(self.pid, processes.family_tree())
        self.seen.update(found)
        return found

    def named(self, name: str) -> list[int]:
        return [pid for pid in self.family() if name in command_of(pid)]

    @property
    def gateway(self) -> int:
        return self.one("--listen-fd")

    @property
    def nursery(self) -> int:
        return self.one("anypod-nursery")

    def one(self, name: str) -> int:
        def look() -> list[int]:
            return found if len(found := self.named(name)) == 1 else []

        return eventually(look, f"there is one {name}")[0]

    def workers(self) -> list[int]:
        """Supervisors: children of the launcher."""
        children = processes.family_tree().get(self.pid, [])
        self.seen.update(children)
        return [pid for pid in children if command_of(pid).startswith("anypod-worker")]

    # its end

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """The exit code, when nothing of it is left."""
        self.family()
        if self.process.poll() is None:
            self.send(number)
        code = self.process.wait(PATIENCE)
        self.assert_all_gone()
        return code

    def assert_all_gone(self) -> None:
        """Whoever was ever seen below the launcher, and the launcher."""

        def left() -> list[str]:
            everybody = [self.pid, *self.seen]
            return [f"{pid} {command_of(pid)}" for pid in everybody if is_running(pid)]

        end = time.monotonic() + PATIENCE
        while still := left():
            assert time.monotonic() < end, f"left over: {still}\n{self.log()}"
            time.sleep(POLL)


def _die_with_the_test() -> None:
    """A test run that is killed takes its pools with it."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@contextmanager
def local_pool(
    directory: Path,
    *arguments: str,
    workers: int | None = 2,
    environment: dict[str, str] | None = None,
    log_format: str = "json",
    anypod: Sequence[Path | str] = (ANYPOD,),
) -> Iterator[LocalPool]:
    """Started, perhaps not ready yet. Runs in ``directory``, and logs to ``stderr`` in it."""
    command = [*map(str, anypod), "up", "--port", "0", "--log-format", log_format, *arguments]
    if workers is not None:
        command += ["--workers", str(workers)]
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "stderr").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=os.environ | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=_die_with_the_test,
        )
    pool = LocalPool(directory, process)
    try:
        yield pool
    except BaseException:
        sys.stderr.write(f"--- log of the local pool\n{pool.log()}\n")
        raise
    finally:
        pool.family()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        pool.assert_all_gone()
