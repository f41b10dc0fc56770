"""The running side of a gateway over real workers: a pools file, a store, and ``Pools`` on both.

What starts workers and probes them elsewhere is the test itself here, so that it decides when a
worker is there, ready, frozen or dead.
"""

import asyncio
import contextlib
import itertools
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import worker as real
from tests.support.scripted_worker import ScriptedWorker
from tests.support.worker import TOKEN, code_of, revision_of

from anypod.api.ids import new_execution_id
from anypod.resources import WorkerPool, pools_file
from anypod.resources.pools_file import PoolEntry, PoolsFile, WorkerEndpoint
from anypod.resources.worker_config import worker_config
from anypod.resources.workerpool import API_VERSION, KIND
from anypod.store.kv import KeyValue
from anypod.store.open import open_store
from anypod.wire.messages import Code, Usage
from anypod_gateway.discovery import PoolsFileSource
from anypod_gateway.events import Events
from anypod_gateway.executions import ExecutionAnswer, ExecutionRequest
from anypod_gateway.links import Identity
from anypod_gateway.pools import Pool, Pools

PATIENCE = 30.0
POOL = "pool"
LMS = [{"name": "fast", "model": "openai/fast"}]
"""Of a pool that has one."""


def manifest(**spec: Any) -> WorkerPool:
    """``spec`` in camelCase, as in YAML."""
    return WorkerPool.model_validate(
        {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": POOL},
            "spec": {"drainSeconds": 5, "limits": {"memory": "512Mi"}, **spec},
        }
    )


async def until(what: Callable[[], Any]) -> None:
    """Until it is true; looked at often, for what has no event."""
    async with asyncio.timeout(PATIENCE):
        while not what():
            await asyncio.sleep(0.01)


@dataclass
class Heard:
    """What a gateway has told whoever counts."""

    retried: Counter[str] = field(default_factory=Counter)
    sessions: Counter[str] = field(default_factory=Counter)
    usage: list[Usage] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def events(self) -> Events:
        return Events(
            retried=lambda _, why: self.retried.update([why]),
            session=lambda _, what: self.sessions.update([what]),
            lm=lambda _, usage: self.usage.append(usage),
            fault=self.faults.append,
        )


class Gateway:
    """One gateway's running side."""

    def __init__(self, pools: Pools, heard: Heard, store: KeyValue) -> None:
        self.pools = pools
        self.heard = heard
        self.store = store

    @property
    def pool(self) -> Pool:
        return self.pools.current()[POOL]

    def ready(self) -> list[str]:
        return [worker.name for worker in self.pool.workers() if worker.ready]

    async def sees(self, *names: str) -> None:
        """Until exactly these workers are ready to it."""
        await until(lambda: sorted(self.ready()) == sorted(names))

    async def run(
        self, program: str | Code, inputs: dict[str, Any] | None = None, **how: Any
    ) -> ExecutionAnswer:
        return await self.pool.runner.run(request(program, inputs, **how))

    async def outputs(
        self, program: str | Code, inputs: dict[str, Any] | None = None, **how: Any
    ) -> Any:
        return json.loads((await self.run(program, inputs, **how)).outputs)

    def nothing_is_left(self) -> bool:
        """No executor taken, nobody waiting, nothing open on any link."""
        pool = self.pool
        workers = pool.roster.workers.values()
        return (
            pool.in_flight() == 0
            and pool.queued() == 0
            and all(worker.is_idle for worker in workers)
        )


def request(
    program: str | Code,
    inputs: dict[str, Any] | None = None,
    *,
    seconds: float = PATIENCE,
    idempotent: bool = False,
    logs: bool = False,
    session: str | None = None,
    concurrency: int = 1,
    kind: str = "python",
    code: Callable[[], Awaitable[Code]] | None = None,
) -> ExecutionRequest:
    known = code_of(program) if isinstance(program, str) else program

    async def given() -> Code:
        return known

    return ExecutionRequest(
        execution=new_execution_id(),
        program="program",
        revision=revision_of(known),
        code=code or given,
        inputs=json.dumps(inputs or {}).encode(),
        deadline=asyncio.get_running_loop().time() + seconds,
        idempotent=idempotent,
        logs=logs,
        session=session,
        concurrency=concurrency,
        kind=kind,
    )


class Site:
    """A pools file, and the workers that the test has started for it."""

    def __init__(self, directory: Path, pool: WorkerPool, store: str) -> None:
        self.path = directory / "pools.json"
        self.manifest = pool
        self.workers: dict[str, real.Worker] = {}
        self.endpoints: dict[str, WorkerEndpoint] = {}
        self.store_url = store
        self._directory = directory
        self._numbers = itertools.count(1)
        self._stack = contextlib.AsyncExitStack()

    async def write(self) -> None:
        entry = PoolEntry(pool=self.manifest, workers=list(self.endpoints.values()))
        await asyncio.to_thread(pools_file.write, self.path, PoolsFile(pools=[entry]))

    async def publish(self, name: str, **changes: Any) -> None:
        """What the pools file says of a worker from now on."""
        known = self.endpoints.get(name)
        if known is None:
            known = WorkerEndpoint(
                name=name, host="127.0.0.1", port=self.workers[name].port, ready=True
            )
        self.endpoints[name] = known.model_copy(update=changes)
        await self.write()

    async def add(self, worker: ScriptedWorker, **changes: Any) -> None:
        """Publish a worker that the test itself plays."""
        endpoint = WorkerEndpoint(name=worker.name, host="127.0.0.1", port=worker.port, ready=True)
        self.endpoints[worker.name] = endpoint.model_copy(update=changes)
        await self.write()

    async def forget(self, name: str) -> None:
        """The pools file names it no more."""
        self.endpoints.pop(name, None)
        await self.write()

    async def start(self, *names: str, publish: bool = True) -> Sequence[real.Worker]:
        """Workers, all at once; ready when this returns, and published as such."""
        started = await asyncio.gather(*(self._start(name) for name in names))
        for worker in started:
            await worker.wait_for_log("worker ready")
            if publish:
                await self.publish(worker.config.worker, port=worker.port, ready=True)
        return started

    async def _start(self, name: str) -> real.Worker:
        directory = self._directory / f"{name}-{next(self._numbers)}"
        await asyncio.to_thread(directory.mkdir)
        worker = await real.start_worker(
            worker_config(self.manifest, name, port=0), directory, warm=True
        )
        self.workers[name] = worker
        return worker

    async def kill(self, name: str) -> None:
        """kill -9; the pools file is as slow as it likes to notice."""
        await self.workers.pop(name).stop(signal.SIGKILL)

    async def stop_all(self) -> None:
        for worker in self.workers.values():
            with contextlib.suppress(ProcessLookupError):
                worker.process.send_signal(signal.SIGCONT)
        await asyncio.gather(*(worker.stop(signal.SIGKILL) for worker in self.workers.values()))


@contextlib.asynccontextmanager
async def site(directory: Path, *, store: str = "", **spec: Any) -> AsyncIterator[Site]:
    url = store or f"sqlite:{directory / 'store.db'}"
    place = Site(directory, manifest(**spec), url)
    await place.write()
    try:
        yield place
    finally:
        await place.stop_all()


@contextlib.asynccontextmanager
async def gateway(place: Site, name: str = "g1", *, store_url: str = "") -> AsyncIterator[Gateway]:
    """Synced; which workers it has is for the test to wait for. ``store_url``: its own way to the
    place's store."""
    store = await asyncio.to_thread(open_store, store_url or place.store_url)
    heard = Heard()
    try:
        async with Pools(
            source=lambda apply: PoolsFileSource(place.path, "default", apply),
            store=store,
            identity=lambda _: Identity(name, "test", TOKEN),
            events=heard.events(),
        ) as pools:
            async with asyncio.timeout(PATIENCE):
                await pools.synced.wait()
            yield Gateway(pools, heard, store)
    finally:
        await store.close()
