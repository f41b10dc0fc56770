"""Where jobs and keyed calls are reckoned up: an AnyPod of processes of this machine."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from tests.support import side_effects
from tests.support.breaking import What
from tests.support.insistent import Account, Insistent, Load
from tests.support.rig import Caller
from tests.support.side_effects import TO_A_FILE, SideEffects
from tests.support.stack import Stack

JOBS = {"concurrency": 100, "depth": 100_000}
"""A gateway that is killed keeps the slots of its jobs until its lease ends."""


@dataclass
class StackGround:
    stack: Stack
    http: aiohttp.ClientSession
    log: Path

    async def ask(self, load: Load, seed: int, seconds: float) -> Account:
        def urls() -> list[str]:
            return [f"{url}/v1/pools/{self.stack.pool}" for url in self.stack.urls]

        callers = Insistent(urls, self.http, str(self.log))
        return await callers.play(load.requests(seed), seconds)

    async def kill(self, what: What, chance: random.Random) -> None:
        match what:
            case "gateway":
                await self.stack.kill_gateway(chance.choice(self.stack.urls))
                await self.stack.start_gateway()
            case "worker":
                await self.stack.kill_worker(chance)
            case "etcd":
                await self.stack.kill_etcd(chance.uniform(0, 2))

    async def told(self) -> SideEffects:
        text = await asyncio.to_thread(self.log.read_text)
        return side_effects.read(text.splitlines())


@asynccontextmanager
async def stack_ground(directory: Path, *, workers: int) -> AsyncIterator[StackGround]:
    async with (
        aiohttp.ClientSession() as http,
        Stack(directory, store="etcd", workers=workers, executors=4, jobs=JOBS) as stack,
    ):
        await stack.ready()
        log = directory / "effects"
        await asyncio.to_thread(log.touch)
        gateway = Caller(url=stack.urls[0], http=http, pool=stack.pool)
        await gateway.create(TO_A_FILE, "once")
        await gateway.create(TO_A_FILE + "# again", "again", idempotent=True)
        yield StackGround(stack, http, log)
