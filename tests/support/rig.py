"""Real gateways in front of real workers over a real store, for tests of the HTTP API.

Everything is a process of its own on a free port, is ready when the test begins, and is gone when
it ends.
"""

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from tests.support import impatient_gateway, warm_processes
from tests.support.worker import TOKEN, Worker, start_worker

from anypod.resources import pools_file
from anypod.resources.pools_file import PoolEntry, PoolsFile, WorkerEndpoint
from anypod.resources.worker_config import worker_config
from anypod.resources.workerpool import API_VERSION, KIND, WorkerPool

PATIENCE = 60.0
POLL_SECONDS = 0.02


@dataclass
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def outputs(self) -> Any:
        assert self.status == 200, self.body
        return self.document["outputs"]


@dataclass(kw_only=True)
class Caller:
    """Calls a gateway, wherever that runs."""

    url: str
    http: aiohttp.ClientSession
    pool: str = "default"

    @property
    def base(self) -> str:
        return f"{self.url}/v1/pools/{self.pool}"

    async def ask(self, method: str, path: str, **options: Any) -> Answer:
        """``path`` below the pool, or a whole one when it begins with two slashes."""
        if "json" in options:
            options["data"] = json.dumps(options.pop("json")).encode()
            given = options.pop("headers", None) or {}
            options["headers"] = {"Content-Type": "application/json", **given}
        if isinstance(options.get("data"), bytes):
            options["data"] = io.BytesIO(options["data"])  # aiohttp warns of large bytes
        url = self.url + path[1:] if path.startswith("//") else self.base + path
        async with self.http.request(method, url, **options) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def create(self, source: str, program: str | None = None, **fields: Any) -> str:
        """The id of a new program."""
        headers = fields.pop("headers", {})
        given = {"source": source, **({"id": program} if program else {}), **fields}
        answer = await self.ask("POST", "/programs", json=given, headers=headers)
        assert answer.status in {200, 201}, answer.body
        return str(answer.document["id"])

    async def run(
        self, program: str, query: str = "", headers: Any = None, **inputs: Any
    ) -> Answer:
        return await self.ask(
            "POST", f"/programs/{program}/run{query}", json={"inputs": inputs}, headers=headers
        )


@dataclass(kw_only=True)
class Gateway(Caller):
    process: warm_processes.Started
    log_file: Path

    async def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(sign)
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    async def log(self) -> str:
        return await asyncio.to_thread(self.log_file.read_text)

    async def ready(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while (await self.ask("GET", "//readyz")).status != 200:
                assert self.process.returncode is None, await self.log()
                await asyncio.sleep(POLL_SECONDS)


@dataclass
class Rig:
    directory: Path
    store: str
    pool: WorkerPool
    http: aiohttp.ClientSession
    workers: dict[str, Worker] = field(default_factory=dict)
    gateways: list[Gateway] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    """Of gateways that are started from now on, beside ours."""

    @property
    def gateway(self) -> Gateway:
        return self.gateways[0]

    @property
    def pools_file(self) -> Path:
        return self.directory / "pools.json"

    async def add_worker(self, name: str) -> Worker:
        directory = self.directory / name
        await asyncio.to_thread(directory.mkdir)
        config = worker_config(self.pool, name, port=0)
        worker = self.workers[name] = await start_worker(config, directory, warm=True)
        await worker.wait_for_log("worker ready")
        return worker

    async def tell(self) -> None:
        """Write the pools file: all workers that there are, ready."""
        endpoints = [
            WorkerEndpoint(name=name, host="127.0.0.1", port=worker.port, ready=True)
            for name, worker in self.workers.items()
        ]
        content = PoolsFile(pools=[PoolEntry(pool=self.pool, workers=endpoints)])
        await asyncio.to_thread(pools_file.write, self.pools_file, content)

    async def add_gateway(
        self, *options: str, listening: bool = True, impatient: bool = False
    ) -> Gateway:
        """Started, and ready if the pools file is there. ``impatient``: with short leases."""
        sock = socket.create_server(("127.0.0.1", 0))
        name = f"g{len(self.gateways) + 1}"
        log_file = self.directory / f"{name}.log"
        with await asyncio.to_thread(log_file.open, "wb") as log, sock:
            process = await self._start_gateway(
                sock, log.fileno(), impatient, "--name", name, *options
            )
            url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        gateway = Gateway(
            process=process,
            url=url,
            log_file=log_file,
            http=self.http,
            pool=self.pool.metadata.name,
        )
        self.gateways.append(gateway)
        if listening:
            await gateway.ready()
        return gateway

    async def _start_gateway(
        self, sock: socket.socket, log: int, impatient: bool, *options: str
    ) -> warm_processes.Started:
        """From nothing, if there is something in its environment that an import could see."""
        arguments = ["--store", self.store, "--pools-file", str(self.pools_file)]
        arguments += ["--link-token-file", str(self.directory / "token"), "--log-format", "json"]
        if not self.environment:
            warm = warm_processes.gateways()
            arguments += ["--die-with-parent", str(warm.pid), *options]
            how = [warm_processes.IMPATIENT] if impatient else []
            return await warm.start(*how, *arguments, listener=sock, log=log)
        module = ("-P", impatient_gateway.__file__) if impatient else ("-m", "anypod_gateway")
        return await asyncio.create_subprocess_exec(
            *(sys.executable, *module, "--listen-fd", str(sock.fileno())),
            *(*arguments, "--die-with-parent", str(os.getpid()), *options),
            pass_fds=[sock.fileno()],
            stdout=asyncio.subprocess.DEVNULL,
            stderr=log,
            env=os.environ | self.environment,
        )

    async def linked(self) -> None:
        """Every gateway may place on every worker."""
        async with asyncio.timeout(PATIENCE):
            for gateway in self.gateways:
                while await self._ready_workers(gateway) < len(self.workers):
                    await asyncio.sleep(POLL_SECONDS)

    async def _ready_workers(self, gateway: Gateway) -> int:
        answer = await gateway.ask("GET", "")
        return int(answer.document["workers"]["ready"])

    async def close(self) -> None:
        ends = [one.stop() for one in self.gateways if one.process.returncode is None]
        ends += [one.stop() for one in self.workers.values() if one.process.returncode is None]
        await asyncio.gather(*ends)


def pool_of(name: str = "default", **spec: Any) -> WorkerPool:
    """A pool whose executors are small and whose patience is short."""
    limits = {"memory": "512Mi", "interruptGraceSeconds": 0.2, **spec.pop("limits", {})}
    return WorkerPool.model_validate(
        {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": name},
            "spec": {"executors": 1, "drainSeconds": 5, "limits": limits, **spec},
        }
    )


@contextlib.asynccontextmanager
async def rig(
    directory: Path,
    *,
    store: str = "",
    pool: WorkerPool | None = None,
    workers: int = 1,
    gateways: int = 1,
    options: tuple[str, ...] = (),
    impatient: bool = False,
    key: str = "",
) -> AsyncIterator[Rig]:
    """All of it ready; the store is SQLite unless it is named. ``impatient``: gateways with short
    leases. ``key``: what callers show."""
    store = store or f"sqlite:{directory / 'store.db'}"
    await asyncio.to_thread((directory / "token").write_text, TOKEN)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    patience = aiohttp.ClientTimeout(total=PATIENCE)
    async with aiohttp.ClientSession(timeout=patience, headers=headers) as http:
        made = Rig(directory, store, pool or pool_of(), http)
        try:
            await asyncio.gather(*(made.add_worker(f"w{n + 1}") for n in range(workers)))
            await made.tell()
            for _ in range(gateways):
                await made.add_gateway(*options, impatient=impatient)
            await made.linked()
            yield made
        finally:
            await made.close()
