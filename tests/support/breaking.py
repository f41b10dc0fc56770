"""What is done to AnyPod while it works: a plan that a seed gives, so that it can be repeated."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Literal

What = Literal["gateway", "worker", "etcd"]
Kill = Callable[[What, random.Random], Awaitable[None]]
"""SIGKILL for one of them; returns when it, or another one in its place, is there again."""


@dataclass(frozen=True)
class Deaths:
    """How many of each there are to be, and the mean of the times between two."""

    gateways: int
    workers: int
    etcds: int
    pause: float

    @property
    def seconds(self) -> float:
        return self.pause * (self.gateways + self.workers + self.etcds)

    def __str__(self) -> str:
        return f"{self.gateways} gateways, {self.workers} workers and etcd {self.etcds} times"


def _planned(deaths: Deaths, chance: random.Random) -> Iterator[tuple[float, What]]:
    """What, and how many seconds after the beginning."""
    kinds: list[What] = ["gateway"] * deaths.gateways
    kinds += ["worker"] * deaths.workers
    kinds += ["etcd"] * deaths.etcds
    chance.shuffle(kinds)
    at = 0.0
    for kind in kinds:
        at += chance.uniform(0.5, 1.5) * deaths.pause
        yield at, kind


async def break_things(kill: Kill, deaths: Deaths, chance: random.Random) -> None:
    """One after another: none goes before the last one is back, be it later than planned."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for at, kind in _planned(deaths, chance):
        await asyncio.sleep(max(0.0, begun + at - loop.time()))
        await kill(kind, chance)
