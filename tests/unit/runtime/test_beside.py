"""Executions beside each other, and the interrupts that come at any moment of their steps."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from tests.support.forked import in_executor
from tests.support.programs import LIMIT, loaded

from anypod_worker.runtime.beside import Company
from anypod_worker.runtime.containment import Baseline
from anypod_worker.runtime.running import Outcome
from anypod_worker.runtime.shared_streams import Stream

LONG = 0.3
"""Seconds after which a step keeps the others waiting."""


class Interrupting:
    """An ``Outside`` on a machine so busy that each word takes long, and is then interrupted."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.said: list[str] = []

    def _interrupt(self, what: str) -> None:
        self.said.append(what)
        time.sleep(LONG)
        os.kill(os.getpid(), signal.SIGINT)

    def begun(self, execution: str) -> None:
        self._interrupt(f"{execution} begun")

    def chunk(self, execution: str, data: bytes) -> None:
        self._interrupt(f"{execution} {data.decode()}")

    def printed(self, execution: str, stream: Stream, data: bytes) -> None:
        self._interrupt(f"{execution} {stream}: {data.decode().rstrip()}")

    def progress(self, execution: str, done: float, total: float | None, message: str) -> None:
        self._interrupt(f"{execution} {message}")

    def done(self, execution: str, outcome: Outcome) -> None:
        self.outcomes[execution] = outcome
        self._interrupt(f"{execution} done")


def together(directory: Path, source: str, *inputs: dict[str, Any]) -> tuple[Interrupting, str]:
    """What became of runs of it on these inputs, and what they printed to nobody."""

    def body(baseline: Baseline) -> Interrupting:
        outside = Interrupting()
        program = loaded(directory, source)
        end, _ = os.pipe()
        company = Company(
            outside,
            end,
            lambda: None,
            output_limit=LIMIT,
            window=LIMIT,
            mark=lambda _: None,
        )
        for number, each in enumerate(inputs):
            company.start(str(number), json.dumps(each).encode(), stream=False)
        company.serve(program)
        assert baseline.restore()
        return outside

    ended = in_executor(body)
    return ended.value, ended.stderr


def test_what_is_done_for_an_execution_is_not_interrupted(tmp_path: Path) -> None:
    source = """
        import asyncio
        async def main(name: str):
            print(name)
            await asyncio.create_task(asyncio.sleep(0))
            return name
    """
    outside, printed = together(tmp_path, source, {"name": "a"}, {"name": "b"})
    assert {name: outcome.outputs for name, outcome in outside.outcomes.items()} == {
        "0": b'"a"',
        "1": b'"b"',
    }
    words = {
        f"{n} {word}"
        for n, name in enumerate("ab")
        for word in ("begun", f"stdout: {name}", "done")
    }
    assert sorted(outside.said) == sorted(words)
    assert printed == ""


def test_a_step_is_interrupted_in_whatever_of_the_programs_it_calls(tmp_path: Path) -> None:
    source = f"""
        import os, signal, time
        def block():
            time.sleep({LONG})
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(100)
        class Odd(Exception):
            def __str__(self): block()
        async def main(how: str):
            if how == "call": block()
            raise Odd
    """
    outside, printed = together(tmp_path, source, {"how": "call"}, {"how": "raise"})
    for outcome in outside.outcomes.values():
        assert outcome.interrupted
        assert outcome.failure is not None
        assert outcome.failure.type == "deadline-exceeded"
        assert outcome.failure.traceback is not None
        assert "in block" in outcome.failure.traceback
    assert len(outside.outcomes) == 2
    assert printed == ""
