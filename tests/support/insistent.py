"""Callers that repeat a request under its key until they know what became of it.

They do what docs/retries.md allows and no more: what may have happened is asked for again only if
the program is idempotent.
"""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from tests.support.stack import Stack

KNOWN_WITHIN = 300.0
_ATTEMPT_SECONDS = 90.0
_PAUSES = (0.05, 0.5)
_NOT_NOW = {"store-unavailable", "no-worker", "queue-full"}


@dataclass(frozen=True)
class Request:
    name: str
    """Its key."""
    number: int
    program: str
    is_job: bool
    idempotent: bool
    seconds: float
    """Of the program's run."""


@dataclass
class Insistent:
    """``known``: by name, the job's id, what the program returned, or None: it was lost."""

    stack: Stack
    http: aiohttp.ClientSession
    log: Path
    known: dict[str, str | None] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)
    """Of every request that was made: ``ok``, a problem's type, or that none came."""
    wrong: list[Any] = field(default_factory=list)
    """Answers that nothing that was done explains."""

    async def ask(self, request: Request) -> None:
        async with asyncio.timeout(KNOWN_WITHIN):
            while not await self._is_known(request):
                await asyncio.sleep(random.uniform(*_PAUSES))

    async def _is_known(self, request: Request) -> bool:
        try:
            status, document = await self._post(request)
        except (aiohttp.ClientError, TimeoutError):
            self.answers["no answer"] += 1
            return False
        kind = "ok" if status in {200, 202} else document["type"]
        self.answers[kind] += 1
        if kind in _NOT_NOW or (kind == "worker-lost" and request.idempotent):
            return False
        if kind == "worker-lost":
            self.known[request.name] = None
        elif kind == "ok":
            self.known[request.name] = document["id" if request.is_job else "outputs"]
        else:
            self.wrong.append((request.name, document))
        return True

    async def _post(self, request: Request) -> tuple[int, Any]:
        url = random.choice(self.stack.urls)
        path = f"{url}/v1/pools/{self.stack.pool}/programs/{request.program}/run"
        inputs = {
            "log": str(self.log),
            "name": request.name,
            "number": request.number,
            "seconds": request.seconds,
        }
        headers = {"Idempotency-Key": request.name}
        query = {}
        if request.is_job:
            headers["Prefer"] = "respond-async"
            if request.idempotent:
                query = {"maxAttempts": "10"}
        timeout = aiohttp.ClientTimeout(total=_ATTEMPT_SECONDS)
        async with self.http.post(
            path, json={"inputs": inputs}, params=query, headers=headers, timeout=timeout
        ) as answer:
            return answer.status, await answer.json()
