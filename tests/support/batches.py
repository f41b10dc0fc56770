"""Batches as a bare HTTP client sends and reads them."""

import json
from collections.abc import AsyncIterable, Iterable
from dataclasses import dataclass
from typing import Any

from tests.support.rig import Caller

NDJSON = {"Content-Type": "application/x-ndjson"}

NOTE = """
import os, time
def main(n: int, file: str, seconds: float = 0.0) -> int:
    with open(file, "a") as log:
        log.write(f"begun {n}\\n")
    time.sleep(seconds)
    with open(file, "a") as log:
        log.write(f"done {n}\\n")
    return n * n
"""


@dataclass(frozen=True)
class Told:
    """A batch's answer, read to its end."""

    items: list[dict[str, Any]]
    end: dict[str, Any]

    @property
    def outputs(self) -> list[Any]:
        return [item.get("outputs") for item in self.items]

    @property
    def problems(self) -> dict[int, str]:
        return {one["index"]: one["problem"]["type"] for one in self.items if "problem" in one}


def told(body: bytes) -> Told:
    *items, end = [json.loads(line) for line in body.splitlines() if line.strip()]
    return Told(items, end["end"])


def lines(inputs: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in inputs)


async def batch(
    caller: Caller,
    program: str,
    upload: bytes | AsyncIterable[bytes],
    query: str = "",
    headers: dict[str, str] | None = None,
) -> Told:
    answer = await caller.ask(
        "POST",
        f"/programs/{program}/map{query}",
        data=upload,
        headers={**NDJSON, **(headers or {})},
    )
    assert answer.status == 200, answer.body
    return told(answer.body)


async def items_answered(caller: Caller) -> int:
    """By this gateway, ever."""
    metrics = await caller.ask("GET", "//metrics")
    return sum(
        int(float(line.rpartition(b" ")[2]))
        for line in metrics.body.splitlines()
        if line.startswith(b"anypod_batch_items_total{")
    )
