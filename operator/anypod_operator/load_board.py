"""What workers said of their load when they were last asked, and the round that asks them."""

import asyncio
from collections.abc import Callable

from anypod_operator.diagnosis import is_ready
from anypod_operator.loads import AT_ONCE, Loads
from anypod_operator.metrics import Metrics
from anypod_operator.pools import PoolKey
from anypod_operator.status import Load
from anypod_operator.world import World


class LoadBoard:
    def __init__(
        self, world: World, loads: Loads, metrics: Metrics, changed: Callable[[PoolKey], None]
    ) -> None:
        self._world = world
        self._loads = loads
        self._metrics = metrics
        self._changed = changed
        self._room = asyncio.Semaphore(AT_ONCE)
        self._board: dict[PoolKey, dict[str, Load]] = {}
        self._last: dict[PoolKey, dict[str, Load]] = {}

    def of(self, key: PoolKey) -> dict[str, Load]:
        """Of workers that are still there, and answered in the last round."""
        return self._of_those_there(key, self._board)

    def last_of(self, key: PoolKey) -> dict[str, Load]:
        """With what those said before that did not answer: who has too much to do is late."""
        return self._of_those_there(key, self._last)

    def _of_those_there(
        self, key: PoolKey, board: dict[PoolKey, dict[str, Load]]
    ) -> dict[str, Load]:
        there = {pod["metadata"]["name"] for pod in self._world.pods(key)}
        return {name: load for name, load in board.get(key, {}).items() if name in there}

    async def keep_asking(self, seconds: float) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(seconds)
            await self.ask_all()

    async def ask_all(self) -> None:
        """All pools at once: each with a silent worker would else make the round longer."""
        pools = self._world.pools()
        for gone in self._board.keys() - set(pools):
            del self._board[gone], self._last[gone]
        await asyncio.gather(*map(self._ask, pools))
        self._count(pools)

    async def _ask(self, key: PoolKey) -> None:
        before = self.of(key)
        answers = await self._loads.ask(self._world.pods(key), self._room)
        self._board[key], self._last[key] = answers, self.last_of(key) | answers
        if self._board[key] != before:
            self._changed(key)

    def _count(self, pools: list[PoolKey]) -> None:
        self._metrics.pools.set(len(pools))
        pods = [pod for key in pools for pod in self._world.pods(key)]
        ready = sum(map(is_ready, pods))
        self._metrics.workers.labels("ready").set(ready)
        self._metrics.workers.labels("not-ready").set(len(pods) - ready)
