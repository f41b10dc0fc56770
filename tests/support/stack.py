"""A whole AnyPod on one machine: a store, gateways, and workers that are replaced when they die.

What Kubernetes or local mode does around the parts is done here by the test itself, so that it can
kill any of them by its pid: it starts workers all at once, asks their ``/readyz``, writes the pools
file, and starts another worker under a new name for each one that died.
"""

import asyncio
import contextlib
import random
import secrets
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from tests.support import warm_processes
from tests.support import worker as support
from tests.support.etcd import EtcdServer
from tests.support.worker import Worker

from anypod.resources import pools_file
from anypod.resources.pools_file import PoolEntry, PoolsFile, WorkerEndpoint
from anypod.resources.worker_config import worker_config
from anypod.resources.workerpool import API_VERSION, KIND, WorkerPool

POLL_SECONDS = 0.05
PATIENCE = 60.0
AGAIN_SECONDS = 0.5
"""Before another worker is started in place of one that could not be."""


class Stack:
    """Use as an async context manager; ``urls`` are the gateways'."""

    def __init__(
        self,
        directory: Path,
        *,
        store: str,
        workers: int,
        executors: int,
        gateways: int = 2,
        preload: str = "",
        **spec: Any,
    ) -> None:
        """``spec``: what else the pool's has."""
        self.pool = "default"
        self._directory = directory
        self._etcd = EtcdServer(directory / "etcd") if store == "etcd" else None
        self._wanted = workers
        self._pool = WorkerPool.model_validate(
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "metadata": {"name": self.pool},
                "spec": {
                    "replicas": workers,
                    "executors": executors,
                    "preload": [preload] if preload else [],
                    "limits": {"memory": "512Mi"},
                    "queue": {"depth": 10_000, "maxWaitSeconds": 60},
                    **spec,
                },
            }
        )
        self._workers: dict[str, Worker] = {}
        self._ready: dict[str, float] = {}
        self._gateways: dict[str, warm_processes.Process] = {}
        self._gateway_count = gateways
        self._tasks: list[asyncio.Task[None]] = []
        self._names = (f"w{number}" for number in range(1, 10_000))
        self._starting: set[asyncio.Task[None]] = set()
        self._cannot_start: Exception | None = None
        self._last_words = ""
        """Of the worker that ended last."""
        self._http: aiohttp.ClientSession | None = None

    @property
    def urls(self) -> list[str]:
        return list(self._gateways)

    @property
    def _pools_file(self) -> Path:
        return self._directory / "pools.json"

    async def __aenter__(self) -> "Stack":
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE))
        if self._etcd is not None:
            await asyncio.to_thread(self._etcd.start)
        (self._directory / "token").write_text(support.TOKEN)
        await self._write()
        await asyncio.gather(*(self.start_gateway() for _ in range(self._gateway_count)))
        self._tasks.append(asyncio.create_task(self._keep()))
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*self._starting)  # half started, they could not be ended
        for process in self._gateways.values():
            await _end(process)
        await asyncio.gather(*(_end(worker.process) for worker in self._workers.values()))
        if self._etcd is not None:
            self._etcd.kill()
        assert self._http is not None
        await self._http.close()

    # gateways

    async def start_gateway(self) -> None:
        """It listens; who connects waits until it answers."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            name = f"g{secrets.token_hex(2)}"
            store = self._etcd.url if self._etcd else f"sqlite:{self._directory / 'store.db'}"
            with (self._directory / f"{name}.log").open("wb") as log:
                warm = warm_processes.gateways()
                process = await warm.start(
                    *("--store", store, "--pools-file", str(self._pools_file), "--name", name),
                    *("--link-token-file", str(self._directory / "token")),
                    *("--die-with-parent", str(warm.pid)),
                    listener=listening,
                    log=log.fileno(),
                )
        self._gateways[f"http://127.0.0.1:{port}"] = process

    async def gateways_listen(self) -> None:
        """Each answers ``/healthz``; it may not be ready."""
        assert self._http is not None
        for url in self.urls:
            async with self._http.get(f"{url}/healthz") as answer:
                assert answer.status == 200

    async def kill_gateway(self, url: str) -> None:
        process = self._gateways.pop(url)
        process.kill()
        await process.wait()

    # workers

    async def _keep(self) -> None:
        """As many workers as wanted, and a pools file that tells the truth."""
        while True:
            for name, worker in list(self._workers.items()):
                if worker.process.returncode is not None:
                    self._last_words = "\n".join([f"{name} ended:", *worker.log[-20:]])
                    del self._workers[name]
                    self._ready.pop(name, None)
            missing = self._wanted - len(self._workers) - len(self._starting)
            for _ in range(missing):
                task = asyncio.create_task(self._start_worker(next(self._names)))
                self._starting.add(task)
                task.add_done_callback(self._starting.discard)
            await asyncio.gather(*(self._probe(name) for name in list(self._workers)))
            await self._write()
            await asyncio.sleep(POLL_SECONDS)

    async def _start_worker(self, name: str) -> None:
        directory = self._directory / name
        config = worker_config(self._pool, name, port=0)
        try:
            directory.mkdir()
            self._workers[name] = await support.start_worker(config, directory, warm=True)
        except Exception as error:
            self._cannot_start = error
            await asyncio.sleep(AGAIN_SECONDS)
            self._cannot_start = None

    async def _probe(self, name: str) -> None:
        worker = self._workers[name]
        ready = False
        assert self._http is not None
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with self._http.get(f"{worker.url}/readyz") as answer:
                ready = answer.status == 200
        if not ready:
            self._ready.pop(name, None)
        else:
            self._ready.setdefault(name, time.time())

    async def _write(self) -> None:
        endpoints = [
            WorkerEndpoint(name=name, host="127.0.0.1", port=worker.port, ready=name in self._ready)
            for name, worker in self._workers.items()
        ]
        entry = PoolEntry(pool=self._pool, workers=endpoints)
        content = PoolsFile(pools=[entry])
        await asyncio.to_thread(pools_file.write, self._pools_file, content)

    async def ready(self) -> None:
        """All wanted workers are ready, and every gateway says so."""
        await self._until(self.all_ready)

    async def _until(self, is_so: Callable[[], Awaitable[bool]]) -> None:
        """Raises what keeps workers from coming, if it is known."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not await is_so():
                    self._raise_what_failed()
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise AssertionError(
                f"not all workers came within {PATIENCE:g} s. {self._last_words}"
            ) from None

    def _raise_what_failed(self) -> None:
        if self._cannot_start is not None:
            raise self._cannot_start
        for task in self._tasks:
            if task.done():
                task.result()

    async def all_ready(self) -> bool:
        if len(self._ready) != self._wanted:
            return False
        for url in self.urls:
            workers = (await self.get(url, f"/v1/pools/{self.pool}/workers"))["items"]
            if sum(worker["ready"] for worker in workers) != self._wanted:
                return False
        return True

    async def _any_ready(self) -> bool:
        return bool(self._ready)

    async def get(self, url: str, path: str) -> Any:
        assert self._http is not None
        async with self._http.get(url + path) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def instances(self) -> set[tuple[str, int]]:
        """Name and pid of every worker: the same as before if none was lost."""
        return {(name, worker.pid) for name, worker in self._workers.items()}

    @property
    def signals_confined(self) -> bool:
        """Whether programs can signal only what they have started; of workers that are ready."""
        said = '"signals_confined": true'
        return all(any(said in line for line in worker.log) for worker in self._workers.values())

    async def kill_etcd(self, seconds: float) -> None:
        """kill -9, and started again with what it had written."""
        assert self._etcd is not None
        await asyncio.to_thread(self._etcd.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self._etcd.start)

    async def kill_worker(self, chance: random.Random | None = None) -> str:
        """kill -9 of one ready worker; its name. What it leaves behind must go by itself."""
        await self._until(self._any_ready)
        name = (chance or random.Random()).choice(sorted(self._ready))
        worker = self._workers[name]
        self._ready.pop(name, None)
        worker.process.send_signal(signal.SIGKILL)
        await worker.process.wait()
        return name

    def ready_since(self) -> dict[str, float]:
        """When each worker was first seen ready; seconds of the epoch."""
        return dict(self._ready)


async def _end(process: warm_processes.Started) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(20):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
