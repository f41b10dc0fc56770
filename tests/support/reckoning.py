"""Whether what callers were told of jobs and keyed calls is what has happened, to the last one.

Requests come over the time in which an AnyPod is broken; then every job is waited for, and every
answer held against the log that the programs wrote. Nothing is sampled, and nothing may be left.
"""

import asyncio
import random
import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.support.breaking import Deaths, What, break_things
from tests.support.figures import Figure
from tests.support.insistent import Account, Load, Request
from tests.support.side_effects import SideEffects


@dataclass(frozen=True)
class Size:
    load: Load
    deaths: Deaths


class Ground(Protocol):
    """An AnyPod of two gateways over etcd, with the programs ``once`` and ``again``."""

    async def ask(self, load: Load, seed: int, seconds: float) -> Account:
        """Its callers', when they know all."""
        ...

    async def kill(self, what: What, chance: random.Random) -> None: ...

    async def told(self) -> SideEffects:
        """By its programs, when all has ended."""
        ...


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


async def play(ground: Ground, figure: Figure, size: Size) -> Reckoned:
    """A failure can be repeated by its seed, near enough."""
    load, deaths, seed = size.load, size.deaths, secrets.randbits(32)
    figure(f"{load.jobs} jobs, {load.calls} keyed calls; killed: {deaths}; seed {seed}")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(break_things(ground.kill, deaths, random.Random(seed)))
        asked = tasks.create_task(ground.ask(load, seed, deaths.seconds))
    account = asked.result()
    reckoned = reckon(load.requests(seed), account, await ground.told())
    figure(f"{reckoned}")
    figure(f"answers: {dict(account.answers)}")
    return reckoned


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
