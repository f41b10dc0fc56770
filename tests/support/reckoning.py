"""Whether what callers were told of jobs and keyed calls is what has happened, to the last one.

Requests come over the time in which a stack is broken; then every job is waited for, and every
answer held against the log that the programs wrote. Nothing is sampled, and nothing may be left.
"""

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from tests.support import side_effects
from tests.support.breaking import Deaths, break_things
from tests.support.figures import Figure
from tests.support.insistent import Insistent, Request
from tests.support.jobs import FINAL
from tests.support.side_effects import PROGRAM, SideEffects
from tests.support.stack import Stack

RUN_SECONDS = [0.0, 0.02, 0.2, 1.0]
AT_ONCE = 32
SLOTS = 100
"""A gateway that is killed keeps those of its jobs until its lease ends."""
ALL_FINAL_WITHIN = 600.0
_LOOK_SECONDS = 2.0
_READ_SECONDS = 30.0
_PAGE = 500

T = TypeVar("T")
Jobs = dict[str, dict[str, Any]]
"""By id, as the list of the pool has them."""


@dataclass(frozen=True)
class Load:
    jobs: int
    calls: int

    def requests(self, chance: random.Random) -> list[Request]:
        """Every fourth is of a program that is idempotent."""
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

    known: dict[str, str | None]
    """By the request's name: the job's id, or what the call's run gave, or that it was lost."""
    wrong: list[Any] = field(default_factory=list)
    jobs: Jobs = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    """Of the jobs that succeeded."""


@dataclass
class Reckoned:
    """Everything that was counted, and whatever does not fit."""

    states: dict[str, Counter[str]] = field(default_factory=dict)
    """Of jobs and calls, of programs that are idempotent and that are not."""
    runs_that_began: int = 0
    runs_that_ended: int = 0
    unexplained: list[str] = field(default_factory=list)

    def count(self, request: Request, state: str) -> None:
        kind = f"{'jobs' if request.is_job else 'calls'} {request.program}"
        self.states.setdefault(kind, Counter())[state] += 1

    def hold(self, request: Request, what: str, holds: bool) -> None:
        if not holds:
            self.unexplained.append(f"{request.name}: {what}")

    def __str__(self) -> str:
        told = ", ".join(
            f"{kind}: {', '.join(f'{count} {state}' for state, count in sorted(found.items()))}"
            for kind, found in sorted(self.states.items())
        )
        return f"{told}; {self.runs_that_began} runs began, {self.runs_that_ended} ended"


async def play(
    directory: Path, figure: Figure, load: Load, deaths: Deaths, *, workers: int
) -> Reckoned:
    """On a stack of two gateways over etcd; a failure can be repeated by its seed, near enough."""
    seed = secrets.randbits(32)
    figure(f"{load.jobs} jobs, {load.calls} keyed calls; killed: {deaths}; seed {seed}")
    jobs = {"concurrency": SLOTS, "depth": 100_000}
    async with (
        aiohttp.ClientSession() as http,
        Stack(directory, store="etcd", workers=workers, executors=4, jobs=jobs) as stack,
    ):
        await stack.ready()
        playing = _Play(stack, http, directory / "effects", load, deaths, random.Random(seed))
        callers, reckoned = await playing.run()
    figure(f"{reckoned}")
    figure(f"answers: {dict(callers.answers)}")
    return reckoned


@dataclass
class _Play:
    stack: Stack
    http: aiohttp.ClientSession
    log: Path
    load: Load
    deaths: Deaths
    chance: random.Random

    async def run(self) -> tuple[Insistent, Reckoned]:
        await asyncio.to_thread(self.log.touch)
        await self._create("once", PROGRAM, idempotent=False)
        await self._create("again", PROGRAM + "# again", idempotent=True)
        requests = self.load.requests(self.chance)
        callers = Insistent(self.stack, self.http, self.log)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(break_things(self.stack, self.deaths, self.chance))
            tasks.create_task(_spread(requests, self.deaths.seconds, callers.ask))
        jobs = await self._all_final()
        results = await self._results(jobs)
        told = await asyncio.to_thread(side_effects.read, self.log)
        account = Account(callers.known, callers.wrong, jobs, results)
        return callers, reckon(requests, account, told)

    async def _create(self, program: str, source: str, *, idempotent: bool) -> None:
        url = f"{self.stack.urls[0]}/v1/pools/{self.stack.pool}/programs"
        given = {"id": program, "source": source, "idempotent": idempotent}
        async with self.http.post(url, json=given) as answer:
            assert answer.status == 201, await answer.text()

    async def _all_final(self) -> Jobs:
        async with asyncio.timeout(ALL_FINAL_WITHIN):
            while not _are_final(jobs := await self._jobs()):
                await asyncio.sleep(_LOOK_SECONDS)
        return jobs

    async def _jobs(self) -> Jobs:
        found: Jobs = {}
        after = ""
        while True:
            page = await self._read(f"/jobs?limit={_PAGE}{after}")
            found.update((job["id"], job) for job in page["items"])
            if page["next"] is None:
                return found
            after = f"&after={page['next']}"

    async def _results(self, jobs: Jobs) -> dict[str, Any]:
        """What those that succeeded gave."""
        results: dict[str, Any] = {}

        async def read(job: str) -> None:
            results[job] = (await self._read(f"/jobs/{job}/result"))["outputs"]

        wanted = [id_ for id_, job in jobs.items() if job["state"] == "succeeded"]
        await _each(wanted, read)
        return results

    async def _read(self, path: str) -> Any:
        """By any gateway that is there; nothing is broken any more, but one may just begin."""
        async with asyncio.timeout(_READ_SECONDS):
            url = self.chance.choice(self.stack.urls)
            return await self.stack.get(url, f"/v1/pools/{self.stack.pool}{path}")


async def _spread(
    requests: list[Request], seconds: float, ask: Callable[[Request], Awaitable[None]]
) -> None:
    """Each at its time, evenly over so long; later, if there are too many at once."""
    loop = asyncio.get_running_loop()
    begun = loop.time()

    async def in_time(numbered: tuple[int, Request]) -> None:
        number, request = numbered
        at = begun + seconds * number / len(requests)
        await asyncio.sleep(max(0.0, at - loop.time()))
        await ask(request)

    await _each(enumerate(requests), in_time)


async def _each(items: Iterable[T], do: Callable[[T], Awaitable[None]]) -> None:
    """So many at once, in their order."""
    left = iter(items)

    async def work() -> None:
        for item in left:
            await do(item)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(work())


def _are_final(jobs: Jobs) -> bool:
    return all(job["state"] in FINAL for job in jobs.values())


def reckon(requests: list[Request], account: Account, told: SideEffects) -> Reckoned:
    done = Reckoned(
        runs_that_began=sum(map(len, told.began.values())),
        runs_that_ended=sum(map(len, told.ended.values())),
    )
    done.unexplained += [f"{name}: two runs at once" for name in told.beside]
    done.unexplained += [f"{name}: {document}" for name, document in account.wrong]
    strangers = told.began.keys() - {request.name for request in requests}
    done.unexplained += [f"{name}: nobody asked for it" for name in strangers]
    accepted = {account.known.get(request.name) for request in requests if request.is_job}
    done.unexplained += [f"{job}: accepted for nobody" for job in account.jobs.keys() - accepted]
    for request in requests:
        if request.name not in account.known:
            done.hold(request, "nobody was told of it", False)
        elif request.is_job:
            _reckon_job(done, request, account, told)
        else:
            _reckon_call(done, request, account.known[request.name], told)
    return done


def _reckon_job(done: Reckoned, request: Request, account: Account, told: SideEffects) -> None:
    id_ = str(account.known[request.name])
    job = account.jobs.get(id_)
    if job is None:
        done.hold(request, f"no job {id_}", False)
        return
    state, attempts, began = job["state"], job["attempts"], len(told.began[request.name])
    done.count(request, state)
    done.hold(request, f"it is {state}", state in {"succeeded", "lost"})
    done.hold(request, f"{began} runs, {attempts} attempts", began <= attempts)
    given_up = state != "lost" or attempts == job["maxAttempts"]
    done.hold(request, f"lost after {attempts} attempts", given_up)
    result = account.results.get(id_)
    _reckon_runs(done, request, result, told, succeeded=state == "succeeded")


def _reckon_call(done: Reckoned, request: Request, answer: str | None, told: SideEffects) -> None:
    done.count(request, "answered" if answer is not None else "lost")
    done.hold(request, "it was lost", answer is not None or not request.idempotent)
    _reckon_runs(done, request, answer, told, succeeded=answer is not None)


def _reckon_runs(
    done: Reckoned, request: Request, result: Any, told: SideEffects, *, succeeded: bool
) -> None:
    began, ended = told.began[request.name], told.ended[request.name]
    if succeeded:
        done.hold(request, f"its answer {result} is of no run that ended", result in ended)
    if not request.idempotent:
        done.hold(request, f"it ran {len(began)} times", len(began) <= 1)
