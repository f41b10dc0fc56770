"""What tests of jobs ask gateways for."""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.support.rig import Answer, Caller

PATIENCE = 60.0
FINAL = {"succeeded", "failed", "cancelled", "lost"}
ASYNC = {"Prefer": "respond-async"}

NOTE = """
import time
from pathlib import Path
def main(file: str, name: str = "", seconds: float = 0, fail_first: int = 0, size: int = 0) -> str:
    with open(file, "a") as log:
        log.write(f"begun {name}\\n")
    print("running", name)
    if Path(file).read_text().count(f"begun {name}\\n") <= fail_first:
        raise ValueError("as it was told")
    time.sleep(seconds)
    with open(file, "a") as log:
        log.write(f"done {name}\\n")
    return "x" * size or f"ran {name}"
"""
WHILE = """
import os, time
def main(file: str, name: str = "") -> str:
    with open(file, "a") as log:
        log.write(f"begun {name}\\n")
    while not os.path.exists(f"{file}.go"):
        time.sleep(0.01)
    return name
"""
YIELDS = "def main(count: int):\n    yield from range(count)\n"
TELLS = """
import os, threading, time
import anypod
from anypod import progress
def main(file: str = "", many: int = 0, odd: bool = False) -> str:
    for number in range(many):
        progress(number, many)
    if odd:
        if os.fork() == 0:
            progress(7, 7, "from a child")
            os._exit(0)
        os.wait()
        thread = threading.Thread(target=progress, args=(1, None, "from a thread \\ud800"))
        thread.start()
        thread.join()
        try:
            progress(float("nan"))
        except ValueError:
            return "refused"
    anypod.progress(1, 2, "half")
    while file and not os.path.exists(file):
        time.sleep(0.01)
    progress(2, 2, "all")
    return "done"
"""


async def submit(
    caller: Caller, program: str, query: str = "", headers: Any = None, **inputs: Any
) -> Answer:
    return await caller.run(program, query, {**ASYNC, **(headers or {})}, **inputs)


async def accepted(
    caller: Caller, program: str, query: str = "", headers: Any = None, **inputs: Any
) -> str:
    """The id of a new job."""
    answer = await submit(caller, program, query, headers, **inputs)
    assert answer.status == 202, answer.body
    return str(answer.document["id"])


async def job(caller: Caller, id_: str) -> dict[str, Any]:
    answer = await caller.ask("GET", f"/jobs/{id_}")
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.document
    return found


async def ended(caller: Caller, id_: str) -> dict[str, Any]:
    """The job when it is final."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await caller.ask("GET", f"/jobs/{id_}", headers={"Prefer": "wait=10"})
            assert answer.status == 200, answer.body
            found: dict[str, Any] = answer.document
            if found["state"] in FINAL:
                return found


async def running(caller: Caller, id_: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await job(caller, id_))["state"] != "running":
            await asyncio.sleep(0.02)


async def wrote(file: Path, text: str, count: int = 1) -> None:
    async with asyncio.timeout(PATIENCE):
        while not file.exists() or file.read_text().count(text) < count:
            await asyncio.sleep(0.02)


def events(body: bytes) -> list[tuple[str, int | None, Any]]:
    """Kind, number and data of each."""
    found = []
    for block in body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "event" in fields:
            number = int(fields["id"]) if "id" in fields else None
            found.append((fields["event"], number, json.loads(fields["data"])))
    return found
