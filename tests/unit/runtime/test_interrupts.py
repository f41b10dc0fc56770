"""SIGINT ends what runs, in whatever it is; and only that."""

import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.forked import in_executor, interrupted_when
from tests.support.programs import executed, loaded

from anypod_worker.runtime import interrupts
from anypod_worker.runtime.containment import Baseline
from anypod_worker.runtime.running import Outcome

STARTED = "open(ready, 'w').close()"


def interrupted(directory: Path, source: str, **options: Any) -> tuple[Outcome, str]:
    """The outcome of a program that is interrupted once it has made the file ``ready``, and what
    it wrote to the file ``seen``."""
    ready, seen = directory / "ready", directory / "seen"

    def body(baseline: Baseline) -> Outcome:
        program = loaded(directory, f"ready, seen = {str(ready)!r}, {str(seen)!r}\n{source}")
        with interrupted_when(ready):
            outcome = executed(program, **options)
        assert baseline.restore()
        assert executed(loaded(directory, "def main():\n    return 1\n")).outputs == b"1"
        return outcome

    outcome = in_executor(body).value
    return outcome, seen.read_text() if seen.exists() else ""


def write(text: str) -> str:
    return f"open(seen, 'a').write({text!r})"


SYNC = {
    "a loop": f"def main():\n    {STARTED}\n    while True:\n        pass\n",
    "a sleep": f"import time\ndef main():\n    {STARTED}\n    time.sleep(100)\n",
    "a lock": f"import threading\ndef main():\n    {STARTED}\n    lock = threading.Lock()\n"
    "    lock.acquire()\n    lock.acquire()\n",
    "a read": f"import os\ndef main():\n    {STARTED}\n    os.read(os.pipe()[0], 1)\n",
    "a wait for a thread": "import threading, time\ndef main():\n"
    "    thread = threading.Thread(target=time.sleep, args=(5,), daemon=True)\n"
    f"    thread.start()\n    {STARTED}\n    thread.join()\n",
    "a child process": f"import subprocess\ndef main():\n    {STARTED}\n"
    "    subprocess.run(['sleep', '5'])\n",
    "a generator": f"def main():\n    yield 1\n    {STARTED}\n    while True:\n        pass\n",
    "a loop that makes outputs": "class Endless:\n    __dataclass_fields__ = {}\n"
    f"    @property\n    def __dict__(self): return {{}}\nimport dataclasses\n"
    f"@dataclasses.dataclass\nclass A:\n    x: int = 0\n    def __getattribute__(self, name):\n"
    f"        if name == 'x':\n            {STARTED}\n            while True: pass\n"
    "        return object.__getattribute__(self, name)\ndef main():\n    return A()\n",
    "a str that never ends": f"class Odd(Exception):\n    def __str__(self):\n        {STARTED}\n"
    "        while True: pass\ndef main():\n    raise Odd\n",
    "a loop of its own": f"import asyncio\nasync def inner():\n    {STARTED}\n"
    "    await asyncio.sleep(100)\ndef main():\n    asyncio.run(inner())\n",
    "a deep recursion": f"import sys\nsys.setrecursionlimit(2000)\ndef f(n):\n"
    f"    if n: f(n - 1)\n    else:\n        {STARTED}\n        while True: pass\n"
    "def main():\n    f(900)\n",
}
ASYNC = {
    "a sleep": f"import asyncio\nasync def main():\n    {STARTED}\n    await asyncio.sleep(100)\n",
    "a step without await": f"async def main():\n    {STARTED}\n    while True:\n        pass\n",
    "a blocking call": f"import time\nasync def main():\n    {STARTED}\n    time.sleep(100)\n",
    "a gather": f"import asyncio\nasync def one():\n    await asyncio.sleep(100)\n"
    f"async def main():\n    {STARTED}\n    await asyncio.gather(one(), one())\n",
    "a task group": f"import asyncio\nasync def main():\n    async with asyncio.TaskGroup() as g:\n"
    f"        g.create_task(asyncio.sleep(100))\n        {STARTED}\n",
    "an async generator": f"import asyncio\nasync def main():\n    yield 1\n    {STARTED}\n"
    "    await asyncio.sleep(100)\n",
    "another task's step": "import asyncio\nasync def other():\n    await asyncio.sleep(0)\n"
    f"    {STARTED}\n    while True: pass\nasync def main():\n"
    "    task = asyncio.create_task(other())\n    await asyncio.sleep(100)\n",
}


@pytest.mark.parametrize("case", SYNC)
def test_sync_code_is_interrupted_in(tmp_path: Path, case: str) -> None:
    outcome, _ = interrupted(tmp_path, SYNC[case])
    assert outcome.interrupted
    assert outcome.outputs is None
    assert outcome.failure is not None
    assert outcome.failure.type == "deadline-exceeded"


@pytest.mark.parametrize("case", ASYNC)
def test_async_code_is_interrupted_in(tmp_path: Path, case: str) -> None:
    outcome, _ = interrupted(tmp_path, ASYNC[case])
    assert outcome.interrupted
    assert outcome.outputs is None
    assert outcome.failure is not None
    assert outcome.failure.type == "deadline-exceeded"


def test_the_failure_says_where_the_program_was(tmp_path: Path) -> None:
    outcome, _ = interrupted(tmp_path, SYNC["a sleep"])
    assert outcome.failure is not None
    assert outcome.failure.traceback is not None
    assert 'File "main.py", line ' in outcome.failure.traceback


@pytest.mark.parametrize("prefix", ["", "async "])
def test_clean_up_code_runs(tmp_path: Path, prefix: str) -> None:
    wait = "await asyncio.sleep(100)" if prefix else "time.sleep(100)"
    source = f"""
import asyncio, time
{prefix}def main():
    try:
        {STARTED}
        {wait}
    finally:
        {write("cleaned")}
"""
    outcome, seen = interrupted(tmp_path, source)
    assert outcome.interrupted
    assert seen == "cleaned"


@pytest.mark.parametrize(
    ("prefix", "wait", "caught"),
    [
        ("", "time.sleep(100)", "KeyboardInterrupt"),
        ("async ", "await asyncio.sleep(100)", "asyncio.CancelledError"),
    ],
)
def test_a_program_may_answer_in_spite_of_it(
    tmp_path: Path, prefix: str, wait: str, caught: str
) -> None:
    source = f"""
import asyncio, time
{prefix}def main():
    try:
        {STARTED}
        {wait}
    except {caught}:
        return "so far"
"""
    outcome, _ = interrupted(tmp_path, source)
    assert outcome.interrupted
    assert outcome.outputs == b'"so far"'


def test_an_exception_handler_does_not_catch_it(tmp_path: Path) -> None:
    source = f"""
import time
def main():
    try:
        {STARTED}
        time.sleep(100)
    except Exception:
        return "caught"
"""
    outcome, _ = interrupted(tmp_path, source)
    assert outcome.outputs is None


@pytest.mark.parametrize("streams", ["def", "async def"])
def test_an_emit_is_not_torn_by_it(tmp_path: Path, streams: str) -> None:
    """The interrupt comes while a frame is half written, and is raised once it is whole."""
    ready = tmp_path / "ready"

    def body(_baseline: Baseline) -> tuple[Outcome, list[str]]:
        steps: list[str] = []

        def emit(_data: bytes) -> None:
            steps.append("begin")
            ready.touch()
            until = time.monotonic() + 30
            while not interrupts.interrupted() and time.monotonic() < until:
                time.sleep(0.001)
            steps.append("end")

        program = loaded(tmp_path, f"{streams} main():\n    while True:\n        yield 1\n")
        with interrupted_when(ready):
            return executed(program, emit=emit), steps

    outcome, steps = in_executor(body).value
    assert outcome.interrupted
    assert outcome.failure.type == "deadline-exceeded"
    # An async generator sees the cancel at its next await.
    assert steps[:2] == ["begin", "end"]
    assert steps.count("begin") == steps.count("end")


@pytest.mark.parametrize("streams", ["def", "async def"])
@pytest.mark.parametrize("when", ["before", "while"])
def test_an_emit_that_waits_for_room_is_interrupted(
    tmp_path: Path, streams: str, when: str
) -> None:
    ready = tmp_path / "ready"

    def wait(_data: bytes) -> None:
        never, _ = os.pipe()
        if when == "before":
            os.kill(os.getpid(), signal.SIGINT)
            assert interrupts.interrupted()
        else:
            ready.touch()
        with interrupts.allowed():
            select.select([never], [], [], 100)

    def body(_baseline: Baseline) -> Outcome:
        program = loaded(tmp_path, f"{streams} main():\n    while True:\n        yield 1\n")
        with interrupted_when(ready):
            return executed(program, emit=wait)

    outcome = in_executor(body).value
    assert outcome.interrupted
    assert outcome.failure.type == "deadline-exceeded"


CHANGES = {
    "replaces the handler": "signal.signal(signal.SIGINT, signal.SIG_IGN)",
    "replaces the handler by its own": "signal.signal(signal.SIGINT, lambda *_: None)",
    "masks the signal": "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_program_that_takes_the_signal_has_it_for_one_execution_only(
    tmp_path: Path, change: str
) -> None:
    ready = tmp_path / "ready"

    def body(baseline: Baseline) -> tuple[bool, Outcome]:
        source = f"import os, signal\ndef main():\n    {CHANGES[change]}\n"
        deaf = executed(
            loaded(tmp_path, source + "    os.kill(os.getpid(), signal.SIGINT)\n    return 1\n")
        )
        assert deaf.outputs == b"1"
        assert baseline.restore()
        program = loaded(tmp_path, f"ready = {str(ready)!r}\n{SYNC['a loop']}")
        with interrupted_when(ready):
            return deaf.interrupted, executed(program)

    ignored, heard = in_executor(body).value
    assert not ignored
    assert heard.interrupted


def test_it_does_nothing_while_nothing_runs(tmp_path: Path) -> None:
    def body(_baseline: Baseline) -> Any:
        program = loaded(tmp_path, "def main():\n    return 1\n")
        os.kill(os.getpid(), signal.SIGINT)
        first = executed(program)
        os.kill(os.getpid(), signal.SIGINT)
        return first.outputs, first.interrupted, executed(program).interrupted

    assert in_executor(body).value == (b"1", False, False)


def test_it_never_escapes_whenever_it_comes(tmp_path: Path) -> None:
    """A storm of signals over many short executions, sync and async."""
    sources = [
        "def main():\n    return sum(range(200))\n",
        "import asyncio\nasync def main():\n    await asyncio.sleep(0)\n    return 1\n",
        "def main():\n    yield from range(20)\n",
        "def main():\n    raise ValueError\n",
    ]

    def storm(target: int) -> int:
        pid = os.fork()
        if pid == 0:
            until = time.monotonic() + 50
            while time.monotonic() < until and os.getppid() == target:
                os.kill(target, signal.SIGINT)
                time.sleep(0.0007)
            os._exit(0)
        return pid

    def body(baseline: Baseline) -> dict[str, int]:
        programs = [loaded(tmp_path, source) for source in sources]
        pid = storm(os.getpid())
        counts: dict[str, int] = {}
        until = time.monotonic() + 3
        while time.monotonic() < until:
            for program in programs:
                outcome = executed(program)
                kind = outcome.failure.type if outcome.failure else "answer"
                counts[kind] = counts.get(kind, 0) + 1
                assert (outcome.failure is None) == (outcome.outputs is not None)
                assert baseline.restore()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        outcome = executed(programs[0])
        assert outcome.outputs == b"19900"
        return counts

    counts = in_executor(body).value
    assert set(counts) == {"answer", "program-error", "deadline-exceeded"}


def test_held_and_allowed_nest() -> None:
    def body(_baseline: Baseline) -> list[str]:
        steps: list[str] = []

        def hit() -> None:
            os.kill(os.getpid(), signal.SIGINT)

        _raises(steps, "bare", hit)
        _raises(steps, "held", lambda: _in_held(hit, steps))
        _raises(steps, "allowed", lambda: _in_allowed(hit, steps))
        return steps

    assert in_executor(body).value == [
        "bare",
        "after the hit",
        "held",
        "allowed",
    ]


def _raises(steps: list[str], name: str, call: Callable[[], None]) -> None:
    execution = interrupts.Execution()
    try:
        with execution:
            call()
    except interrupts.Interrupted:
        assert execution.interrupted
        steps.append(name)


def _in_held(hit: Callable[[], None], steps: list[str]) -> None:
    with interrupts.held():
        with interrupts.held():
            hit()
        steps.append("after the hit")
    steps.append("not reached")


def _in_allowed(hit: Callable[[], None], steps: list[str]) -> None:
    with interrupts.held(), interrupts.allowed():
        hit()
        steps.append("not reached")
