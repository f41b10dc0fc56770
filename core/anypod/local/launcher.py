"""``anypod up``: starts the parts at once, keeps them running, and ends them in order.

Order at the end: the gateway first, which finishes what it has accepted, then the workers, then
whatever is left. A second signal ends all at once.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from anypod.local.children import Children
from anypod.local.folder import Folder
from anypod.local.gateway import Gateway
from anypod.local.log_pipe import LogPipe, is_for_people
from anypod.local.nursery import Nursery
from anypod.local.workers import Workers
from anypod.resources import pools_file
from anypod.resources.pools_file import PoolsFile
from anypod.resources.workerpool import WorkerPool

BACKLOG = 1024


class CannotStart(Exception):
    """``str()`` says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Options:
    pools: list[WorkerPool]
    folder: Path
    host: str = "127.0.0.1"
    port: int = 8700
    store: str = ""
    """Empty for SQLite in the folder."""
    log_format: str = "text"


Tell = Callable[[str], None]


def listen(host: str, port: int) -> socket.socket:
    """Raises CannotStart."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise CannotStart(
            f"{host} port {port} cannot be listened on: {error.strerror or error}; "
            "choose another with --port"
        ) from None


class Launcher:
    def __init__(self, options: Options, listener: socket.socket, tell: Tell) -> None:
        """``tell`` gets lines for the person at the terminal. To be made on the running loop."""
        self._folder = Folder(options.folder)
        self._tell = tell
        self._changed = asyncio.Event()
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._all_ready = False
        token = self._folder.prepare()
        self._children = Children()
        self._log = LogPipe(self._folder.worker_log, self._logged)
        self._nursery = Nursery(self._children, self._log.write_end)
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._pools = [
            Workers(
                pool,
                token,
                nursery=self._nursery,
                children=self._children,
                http=self._http,
                changed=self._changed.set,
                tell=tell,
            )
            for pool in options.pools
        ]
        self._gateway = Gateway(
            listener,
            self._folder,
            options.store or f"sqlite:{self._folder.store}",
            children=self._children,
            drain_seconds=max((p.spec.drain_seconds for p in options.pools), default=30),
            log_format=options.log_format,
            tell=tell,
        )
        host, port = listener.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def run(self) -> int:
        """Until a signal; the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._signalled)
        self._children.watch()
        self._write_pools_file()
        background = [
            asyncio.create_task(coroutine)
            for coroutine in (
                self._log.run(),
                self._children.sweep(),
                self._keep_pools_file(),
                self._gateway.run(),
                *(pool.run() for pool in self._pools),
            )
        ]
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({*background, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in background:
                if task.done():
                    task.result()  # none of them ends unless it failed
            return 0
        finally:
            await self._end(background)

    def _signalled(self) -> None:
        if self._stop.is_set():
            self._stop_now.set()
        self._stop.set()

    async def _end(self, background: "list[asyncio.Task[None]]") -> None:
        self._tell("stopping: no new calls; what runs may finish (again to stop at once)")
        logging_task, *others = background
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        endings: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._stop_in_order()),
            asyncio.create_task(self._stop_now.wait()),
        ]
        await asyncio.wait(endings, return_when=asyncio.FIRST_COMPLETED)
        for ending in endings:
            ending.cancel()
        self._nursery.close()
        await self._children.kill_all()
        self._log.close()
        await asyncio.wait({logging_task}, timeout=2)
        logging_task.cancel()
        await self._http.close()
        self._folder.pools_file.unlink(missing_ok=True)
        self._folder.token_file.unlink(missing_ok=True)

    async def _stop_in_order(self) -> None:
        await self._gateway.stop()
        await asyncio.gather(*(pool.stop() for pool in self._pools))

    # the pools file

    async def _keep_pools_file(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._write_pools_file()
            self._tell_when_ready()

    def _write_pools_file(self) -> None:
        content = PoolsFile(pools=[pool.entry() for pool in self._pools])
        pools_file.write(self._folder.pools_file, content)

    def _tell_when_ready(self) -> None:
        whole = all(pool.ready == len(pool.slots) for pool in self._pools)
        if whole and not self._all_ready:
            count = sum(len(pool.slots) for pool in self._pools)
            self._tell(f"all {count} workers are ready: {self.url}")
        self._all_ready = whole

    # what workers log

    def _logged(self, told: dict[str, Any]) -> None:
        if not is_for_people(told):
            return
        message, worker = str(told.get("message", "")), str(told.get("worker", ""))
        for pool in self._pools:
            pool.last_words[worker] = message
        self._tell(f"{worker}: {message}" if worker else message)


def run(options: Options, tell: Tell, started: Callable[[str], None]) -> int:
    """Be ``anypod up``; the exit code. ``started`` gets the URL.

    Raises CannotStart, FolderTaken."""

    async def main() -> int:
        launcher = Launcher(options, listener, tell)
        started(launcher.url)
        return await launcher.run()

    with Folder(options.folder).taken(), listen(options.host, options.port) as listener:
        os.umask(0o077)
        return asyncio.run(main())
