"""One worker of a local pool, kept alive: forked, asked whether it is ready, started again."""

import asyncio
import os
import signal
import socket
from dataclasses import dataclass
from typing import Literal

from anypod.local import probes, processes
from anypod.local.backoff import Backoff
from anypod.local.board import HOST, Board, WorkerState
from anypod.local.children import Children
from anypod.local.console import Console
from anypod.local.nursery import NotForked, Nursery
from anypod.local.settings import Timing
from anypod.local.surroundings import lm_keys
from anypod.local.vitals import follow
from anypod.resources.worker_config import worker_config
from anypod.resources.workerpool import WorkerPool

ON_ITS_WAY = frozenset({"preloading", "executors start"})
"""What a worker that is just starting says of itself; anything else is trouble."""

BACKLOG = 256


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all workers share."""

    children: Children
    nursery: Nursery
    board: Board
    console: Console
    timing: Timing
    token: str
    log_format: Literal["text", "json"]


class WorkerKeeper:
    def __init__(self, pool: WorkerPool, state: WorkerState, around: Surroundings) -> None:
        self.pid = 0
        """Of the life that is now; 0 between two."""
        self.drain_seconds = pool.spec.drain_seconds
        self._pool = pool
        self._lm_keys = lm_keys(pool, os.environ)
        self._state = state
        self._around = around
        self._ready_since = 0.0
        self._lives = 0
        timing = around.timing
        self._backoff = Backoff(timing.first_pause, timing.longest_pause, timing.stable)

    @property
    def name(self) -> str:
        """With the pool's, where there are several."""
        several = len(self._around.board.pools) > 1
        return f"{self._state.pool}/{self._state.name}" if several else self._state.name

    async def run(self) -> None:
        """For ever."""
        while True:
            self._ready_since = 0.0
            self._lives += 1
            why = await self._live()
            self.pid = 0
            await self._pause(why)

    async def _live(self) -> str:
        """One life; how it ended."""
        around = self._around
        try:
            listener = socket.create_server((HOST, 0), backlog=BACKLOG)
        except OSError as reason:
            return f"could not be given a port: {reason.strerror}"
        with listener:
            port = int(listener.getsockname()[1])
            config = worker_config(
                self._pool, self._state.name, host=HOST, port=port, log_format=around.log_format
            )
            try:
                self.pid = await around.nursery.spawn(
                    config, around.token, listener, around.timing.spawn, self._lm_keys
                )
            except NotForked as reason:
                return f"could not be forked: {reason}"
        self._state.port = port
        around.board.changed()
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(
                follow((HOST, port), around.timing, self._note, self._wedged)
            )
            status = await around.children.ended(self.pid)
            watching.cancel()
        around.children.forget(self.pid)
        return processes.how_it_ended(status)

    def _wedged(self) -> None:
        self._say(f"{self.name} does not answer and is killed", "warning")
        processes.send(self.pid, signal.SIGKILL)

    def _note(self, health: probes.Health) -> None:
        state = self._state
        if (state.ready, state.message) == (health.ready, health.message):
            return
        if health is probes.SILENT and not state.ready:
            return  # what it said last tells more
        was_ready, state.ready, state.message = state.ready, health.ready, health.message
        state.trouble = not (health.ready or was_ready or health.message in ON_ITS_WAY)
        if health.ready and not was_ready:
            self._became_ready()
        elif was_ready:
            self._say(f"{self.name} is not ready: {health.message}", "warning")
        self._around.board.changed()

    def _became_ready(self) -> None:
        if self._lives > 1 or self._ready_since:
            self._say(f"{self.name} is ready again")
        self._ready_since = self._ready_since or asyncio.get_running_loop().time()

    async def _pause(self, why: str) -> None:
        loop, state = asyncio.get_running_loop(), self._state
        well_for = loop.time() - self._ready_since if self._ready_since else 0.0
        pause = self._backoff.pause(well_for)
        again = self._backoff.say(pause)
        if self._ready_since:
            self._say(f"{self.name} {why}; {again}", "error", pool=state.pool, worker=state.name)
        if self._ready_since or not state.trouble:
            state.message = why
        state.ready, state.trouble = False, not self._ready_since
        state.again = again
        self._around.board.changed()
        await asyncio.sleep(pause)
        state.again = ""

    def _say(
        self, text: str, level: Literal["info", "warning", "error"] = "info", **more: str
    ) -> None:
        self._around.console.say(text, level, **more)
