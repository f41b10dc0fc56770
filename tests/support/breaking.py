"""What is done to a stack while it works: a plan that a seed gives, so that it can be repeated."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tests.support.stack import Stack

What = Literal["gateway", "worker", "etcd"]


@dataclass(frozen=True)
class Deaths:
    """How many of each there are to be, and the mean of the pauses between two."""

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
    kinds: list[What] = ["gateway"] * deaths.gateways
    kinds += ["worker"] * deaths.workers
    kinds += ["etcd"] * deaths.etcds
    chance.shuffle(kinds)
    for kind in kinds:
        yield chance.uniform(0.5, 1.5) * deaths.pause, kind


async def break_things(stack: Stack, deaths: Deaths, chance: random.Random) -> None:
    """SIGKILL for all of them, one after another; each is there again before the next goes."""
    for pause, kind in _planned(deaths, chance):
        await asyncio.sleep(pause)
        match kind:
            case "gateway":
                await stack.kill_gateway(chance.choice(stack.urls))
                await stack.start_gateway()
            case "worker":
                await stack.kill_worker(chance)
            case "etcd":
                await stack.kill_etcd(chance.uniform(0, 2))
