"""AnyPod and a plain FastAPI server, both asking the same language model's server, and that one."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import anypod_stack, processes
from benchmarks.dspy.lm import ANSWER, COMPLETIONS

EXECUTORS = 4
MILLISECONDS = (50, 2000)
"""After which its models answer."""
QUESTION = "What is the capital of France?"


@dataclass(frozen=True, slots=True)
class Rival:
    name: str
    urls: dict[int, str]
    """By the LM's own time."""
    body: bytes
    pid: int
    """Of the process that runs the programs, or starts what does; 0 of what runs none."""

    def prove(self) -> None:
        for url in self.urls.values():
            status, text = processes.ask(url, self.body)
            assert status == 200, text
            assert ANSWER in text.decode()


@contextmanager
def lm() -> Iterator[str]:
    """Its ``apiBase``."""
    port = processes.free_port()
    command = processes.python("-m", "benchmarks.dspy.lm", str(port))
    with processes.running(command, Path(os.devnull)):
        ready = f"http://127.0.0.1:{port}/readyz"
        processes.wait_for("the LM's server", lambda: processes.answers(ready))
        yield f"http://127.0.0.1:{port}/v1"


def direct(api_base: str, milliseconds: int) -> Rival:
    """The LM's server itself, to be asked what a rival has asked it last."""
    status, body = processes.ask(f"{api_base}/asked/{milliseconds}")
    assert status == 200, body
    url = api_base.removesuffix("/v1") + COMPLETIONS
    return Rival("the LM's server", {milliseconds: url}, body, 0)


def lms(api_base: str) -> list[dict[str, Any]]:
    """As a pool declares them, the first of them the default."""
    return [
        {"name": f"ms{time}", "model": f"hosted_vllm/{time}", "apiBase": api_base}
        for time in MILLISECONDS
    ]


@contextmanager
def anypod(
    directory: Path, api_base: str, executors: int = EXECUTORS, **program: Any
) -> Iterator[Rival]:
    """One worker, with a gateway before it."""
    given = anypod_stack.pool(1, executors, preload=["dspy"], lms=lms(api_base))
    with (
        anypod_stack.workers(directory, given) as [worker],
        anypod_stack.gateway(directory) as (url, _),
    ):
        asks = {"kind": "dspy", "signature": "question -> answer", "module": "ChainOfThought"}
        asks |= program
        urls = {
            time: anypod_stack.create(url, {"id": f"asks-{time}", **asks, "lm": f"ms{time}"})
            for time in MILLISECONDS
        }
        body = json.dumps({"inputs": {"question": QUESTION}}).encode()
        yield Rival(f"AnyPod: a gateway, 1 worker of {executors} executors", urls, body, worker)


@contextmanager
def fastapi(directory: Path, api_base: str) -> Iterator[Rival]:
    port = processes.free_port()
    command = processes.python(
        *("-m", "uvicorn", "--host", "127.0.0.1", "--port", str(port), "--no-access-log"),
        "benchmarks.dspy.fastapi_server:app",
    )
    with processes.running(command, directory / "fastapi.log", LM_URL=api_base) as process:
        url = f"http://127.0.0.1:{port}"
        processes.wait_for("readiness of FastAPI", lambda: processes.answers(f"{url}/docs"))
        urls = {time: f"{url}/predict/{time}" for time in MILLISECONDS}
        yield Rival(
            "FastAPI and dspy.asyncify", urls, json.dumps({"text": QUESTION}).encode(), process.pid
        )
