"""Callers that repeat a request under its key until they know what became of it.

They do what docs/retries.md allows and no more: what may have happened is asked for again only if
the program is idempotent. Requests come evenly over a time; then every job is waited for, and the
results of those that succeeded are read.

It can be a program of its own, for a pod (``python -c`` with this file's text), so it imports
nothing of ours; the same seed gives the same requests wherever it runs.
"""

import asyncio
import contextlib
import json
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp

RUN_SECONDS = [0.0, 0.02, 0.2, 1.0]
AT_ONCE = 32
KNOWN_WITHIN = 300.0
ALL_FINAL_WITHIN = 600.0
_ATTEMPT_SECONDS = 90.0
_READ_SECONDS = 60.0
_LOOK_SECONDS = 2.0
_PAUSES = (0.05, 0.5)
_PAGE = 500
_NOT_NOW = {"store-unavailable", "no-worker", "queue-full"}
_FINAL = {"succeeded", "failed", "cancelled", "lost"}
_OF_A_JOB = ("state", "attempts", "maxAttempts")

T = TypeVar("T")


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


@dataclass(frozen=True)
class Load:
    jobs: int
    calls: int

    def requests(self, seed: int) -> list[Request]:
        """Every fourth is of a program that is idempotent."""
        chance = random.Random(seed)
        kinds = [True] * self.jobs + [False] * self.calls
        chance.shuffle(kinds)
        return [self._request(chance, number, is_job) for number, is_job in enumerate(kinds)]

    def _request(self, chance: random.Random, number: int, is_job: bool) -> Request:
        idempotent = chance.random() < 0.25
        kind = "job" if is_job else "call"
        program = "again" if idempotent else "once"
        return Request(
            name=f"{kind}-{program}-{number}",
            number=number,
            program=program,
            is_job=is_job,
            idempotent=idempotent,
            seconds=chance.choice(RUN_SECONDS),
        )


@dataclass
class Account:
    """What callers and the store know at the end."""

    known: dict[str, str | None] = field(default_factory=dict)
    """By the request's name: the job's id, or what the call's run gave, or that it was lost."""
    answers: dict[str, int] = field(default_factory=Counter)
    """Of every request that was made: ``ok``, a problem's type, or that none came."""
    wrong: list[Any] = field(default_factory=list)
    """Answers that nothing that was done explains."""
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By id, what the list of the pool has of them."""
    results: dict[str, Any] = field(default_factory=dict)
    """Of the jobs that succeeded."""


@dataclass
class Insistent:
    """``urls``: of the pool, at each gateway that is there; ``log``: where the programs write."""

    urls: Callable[[], list[str]]
    http: aiohttp.ClientSession
    log: str
    account: Account = field(default_factory=Account)

    async def play(self, requests: list[Request], seconds: float) -> Account:
        await self._spread(requests, seconds)
        self.account.jobs = await self._all_final()
        done = [id_ for id_, job in self.account.jobs.items() if job["state"] == "succeeded"]
        await _each(done, self._read_result)
        return self.account

    async def _spread(self, requests: list[Request], seconds: float) -> None:
        """Each at its time, evenly over so long; later, if there are too many at once."""
        loop = asyncio.get_running_loop()
        begun = loop.time()

        async def in_time(numbered: tuple[int, Request]) -> None:
            number, request = numbered
            at = begun + seconds * number / len(requests)
            await asyncio.sleep(max(0.0, at - loop.time()))
            await self._ask(request)

        await _each(enumerate(requests), in_time)

    async def _ask(self, request: Request) -> None:
        async with asyncio.timeout(KNOWN_WITHIN):
            while not await self._is_known(request):
                await asyncio.sleep(random.uniform(*_PAUSES))

    async def _is_known(self, request: Request) -> bool:
        account = self.account
        try:
            status, document = await self._post(request)
        except (aiohttp.ClientError, TimeoutError):
            account.answers["no answer"] += 1
            return False
        kind = "ok" if status in {200, 202} else document["type"]
        account.answers[kind] += 1
        if kind in _NOT_NOW or (kind == "worker-lost" and request.idempotent):
            return False
        if kind == "worker-lost":
            account.known[request.name] = None
        elif kind == "ok":
            account.known[request.name] = document["id" if request.is_job else "outputs"]
        else:
            account.wrong.append((request.name, document))
        return True

    async def _post(self, request: Request) -> tuple[int, Any]:
        url = f"{random.choice(self.urls())}/programs/{request.program}/run"
        inputs = {
            "log": self.log,
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
            url, json={"inputs": inputs}, params=query, headers=headers, timeout=timeout
        ) as answer:
            return answer.status, await answer.json()

    # at the end

    async def _all_final(self) -> dict[str, dict[str, Any]]:
        async with asyncio.timeout(ALL_FINAL_WITHIN):
            while not _are_final(jobs := await self._jobs()):
                await asyncio.sleep(_LOOK_SECONDS)
        return jobs

    async def _jobs(self) -> dict[str, dict[str, Any]]:
        found = {}
        after = ""
        while True:
            page = await self._read(f"/jobs?limit={_PAGE}{after}")
            for job in page["items"]:
                found[job["id"]] = {name: job[name] for name in _OF_A_JOB}
            if page["next"] is None:
                return found
            after = f"&after={page['next']}"

    async def _read_result(self, job: str) -> None:
        self.account.results[job] = (await self._read(f"/jobs/{job}/result"))["outputs"]

    async def _read(self, path: str) -> Any:
        """By any gateway that is there, of which one may have died or just begin."""
        async with asyncio.timeout(_READ_SECONDS):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with self.http.get(random.choice(self.urls()) + path) as answer:
                        if answer.status == 200:
                            return await answer.json()
                        assert answer.status == 503, await answer.text()
                await asyncio.sleep(random.uniform(*_PAUSES))


def _are_final(jobs: dict[str, dict[str, Any]]) -> bool:
    return all(job["state"] in _FINAL for job in jobs.values())


async def _each(items: Iterable[T], do: Callable[[T], Awaitable[None]]) -> None:
    """So many at once, in their order."""
    left = iter(items)

    async def work() -> None:
        for item in left:
            await do(item)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(work())


async def main() -> None:
    """Prints the account as JSON."""
    headers = {"Authorization": f"Bearer {os.environ['ANYPOD_API_KEY']}"}
    load = Load(jobs=int(os.environ["JOBS"]), calls=int(os.environ["CALLS"]))
    requests = load.requests(int(os.environ["SEED"]))
    async with aiohttp.ClientSession(headers=headers) as http:
        callers = Insistent(lambda: [os.environ["URL"]], http, os.environ["LOG"])
        account = await callers.play(requests, float(os.environ["SECONDS"]))
    print(json.dumps(vars(account)))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())
