"""``anypod up``, when it stands: keeps everything up, tells the person, and ends it in order.

The order of the end: the gateway finishes what is under way, then the workers stop. A second signal
skips that. Whatever is left then is killed (``anypod.local.up``).
"""

import asyncio
import signal
import time
from collections.abc import Coroutine, Sequence
from typing import Any

import anypod
from anypod.local import greeting, manifest, processes
from anypod.local.backoff import Backoff
from anypod.local.board import Board, listed
from anypod.local.gateway import GatewayKeeper, GatewayOptions
from anypod.local.up import Ground
from anypod.local.workers import Surroundings, WorkerKeeper
from anypod.resources.workerpool import WorkerPool

STATUS_SECONDS = 0.1
TROUBLE_SECONDS = 0.5
REMEMBERED_TROUBLES = 100


class Launcher:
    def __init__(self, ground: Ground, pools: Sequence[WorkerPool]) -> None:
        self._ground = ground
        self._console = ground.console
        self._shared_preload = manifest.shared_preload(pools)
        self._board = Board(ground.directory.pools_file, pools)
        self._board.on_change = self._changed
        ground.directory.keep_webhook_secrets(pool.metadata.name for pool in pools)
        self._options = GatewayOptions(
            ground.settings.store or ground.directory.store,
            ground.directory.pools_file,
            ground.directory.token_file,
            ground.directory.webhook_secrets,
            max(pool.spec.drain_seconds for pool in pools),
            ground.log_format,
        )
        self._gateway = GatewayKeeper(self._options, ground, self._changed)
        self._workers = self._worker_keepers()
        self._url = greeting.url_of(*ground.listener.getsockname()[:2])
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._fault: BaseException | None = None
        self._told_troubles: set[tuple[str, str]] = set()
        self._greeted = False

    def _worker_keepers(self) -> list[WorkerKeeper]:
        ground = self._ground
        around = Surroundings(
            ground.children,
            ground.nursery,
            self._board,
            ground.console,
            ground.settings.timing,
            ground.directory.new_token(),
            ground.log_format,
        )
        return [
            WorkerKeeper(pool.manifest, state, around)
            for pool in self._board.pools
            for state in pool.workers
        ]

    async def run(self) -> None:
        """Until told to stop. Raises CannotStart, or what broke the launcher itself."""
        self._listen_to_signals()
        self._ground.nursery.preload(self._shared_preload)
        self._ground.directory.announce(self._url)
        self._keep(self._gateway.run())  # first, for it has most to import
        self._keep(self._board.keep_written(self._console.say))
        self._keep(self._keep_nursery())
        for worker in self._workers:
            self._keep(worker.run())
        self._keep(self._tell_trouble())
        self._keep(self._turn_status())
        self._say_what_begins()
        self._board.changed()
        await self._stop.wait()
        await self._end()
        if self._fault is not None:
            raise self._fault

    def _say_what_begins(self) -> None:
        settings = self._ground.settings
        kept = settings.store or f"{settings.directory}/store.db"
        greeting.begin(self._console, anypod.__version__, self._board.pools, kept)
        greeting.warn_if_reachable(self._console, settings.host)

    # tasks

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        """A task without which there is no local mode: its failure ends all of it."""
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._task_ended)
        self._tasks.append(task)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None and self._fault is None:
            self._fault = task.exception()
            self._stop.set()

    async def _keep_nursery(self) -> None:
        timing, loop = self._ground.settings.timing, asyncio.get_running_loop()
        nursery, children = self._ground.nursery, self._ground.children
        backoff = Backoff(timing.first_pause, timing.longest_pause, timing.stable)
        while True:
            began, pid = loop.time(), nursery.pid
            status = await children.ended(pid)
            children.forget(pid)
            nursery.died()
            pause = backoff.pause(loop.time() - began)
            why = processes.how_it_ended(status)
            while why:
                self._console.say(f"the nursery {why}; {backoff.say(pause)}", "error")
                await asyncio.sleep(pause)
                try:
                    nursery.start()
                except OSError as reason:
                    why, pause = f"could not be started: {reason.strerror}", backoff.pause(0.0)
                else:
                    why = ""

    async def _turn_status(self) -> None:
        while True:
            await asyncio.sleep(STATUS_SECONDS)
            self._console.turn()

    async def _tell_trouble(self) -> None:
        """Why a pool is not well, once per reason until all is well."""
        while True:
            await asyncio.sleep(TROUBLE_SECONDS)
            for pool in self._board.pools:
                for why, workers in pool.troubles().items():
                    if self._is_news(pool.name, why):
                        text = f"{pool.name}: {listed(workers)}: {why}; trying on"
                        self._console.say(text, "error", pool=pool.name)

    def _is_news(self, pool: str, why: str) -> bool:
        if (pool, why) in self._told_troubles:
            return False
        if len(self._told_troubles) >= REMEMBERED_TROUBLES:
            self._told_troubles.clear()
        self._told_troubles.add((pool, why))
        return True

    # what changes

    def _changed(self) -> None:
        waiting = [
            f"{pool.name}: {pool.ready} of {len(pool.workers)} workers ready"
            for pool in self._board.pools
            if pool.ready < len(pool.workers)
        ]
        if not self._gateway.ready:
            waiting.append(f"gateway: {self._gateway.message or 'starting'}")
        self._console.status(", ".join(waiting))
        if waiting:
            return
        self._told_troubles.clear()
        self._console.all_is_well()
        if not self._greeted:
            self._greeted = True
            seconds = time.monotonic() - self._ground.began
            greeting.ready(self._console, self._url, self._board.pools, seconds)

    # the end

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._asked_to_stop)
        # A closed terminal asks to stop; nohup's wish to outlive it is respected.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGHUP, self._asked_to_stop)

    def _asked_to_stop(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
            return
        self._console.say("stopping: what runs is finished first; once more to stop at once")
        self._stop.set()

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._console.status("stopping")
        ways = (
            asyncio.create_task(self._stop_in_order()),
            asyncio.create_task(self._when_in_a_hurry()),
        )
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)

    async def _when_in_a_hurry(self) -> None:
        await self._hurry.wait()

    async def _stop_in_order(self) -> None:
        slack = self._ground.settings.timing.stop_slack
        await self._terminate([self._gateway.pid], self._options.drain_seconds + slack)
        drain = max((worker.drain_seconds for worker in self._workers), default=0.0)
        await self._terminate([worker.pid for worker in self._workers], drain + slack)

    async def _terminate(self, pids: list[int], seconds: float) -> None:
        children = self._ground.children
        alive = [pid for pid in pids if pid and children.is_alive(pid)]
        for pid in alive:
            processes.send(pid, signal.SIGTERM)
        await asyncio.gather(*(children.ended_within(pid, seconds) for pid in alive))
