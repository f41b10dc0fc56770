"""Workers forked from the nursery are as those of a container, and go when local mode goes."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from tests.support import process_tree
from tests.support.worker import PATIENCE, TOKEN, Worker, linked, worker_config

from anypod.wire.config import WorkerConfig
from anypod.wire.messages import SessionRef

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Launcher:
    """``tests.support.nursery`` as a process of its own."""

    process: asyncio.subprocess.Process
    nursery: int = 0

    async def says(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            return dict(json.loads(await self.process.stdout.readline()))

    async def worker(self, config: WorkerConfig) -> Worker:
        """The next one that it says it has; ready."""
        told = await self.says()
        assert told["error"] == "", told
        assert told["worker"] == config.worker
        worker = Worker(config, _Forked(told["pid"]), told["port"], [], asyncio.Condition())  # type: ignore[arg-type]
        async with asyncio.timeout(PATIENCE):
            while not await _is_ready(worker):
                await asyncio.sleep(0.01)
        return worker

    async def order(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() + b"\n")
        await self.process.stdin.drain()

    async def spawn(self, config: WorkerConfig) -> Worker:
        await self.order(f"spawn {msgspec.json.encode(config).decode()}")
        return await self.worker(config)

    async def status_of(self, pid: int) -> int:
        await self.order(f"wait {pid}")
        return int((await self.says())["status"])


@dataclass
class _Forked:
    """A worker that is not our child."""

    pid: int
    returncode: int | None = None


async def _is_ready(worker: Worker) -> bool:
    try:
        return await worker.is_ready()
    except (aiohttp.ClientError, OSError):
        return False


@contextlib.asynccontextmanager
async def launched(
    *configs: WorkerConfig, preload: Sequence[str] = (), **environment: str
) -> AsyncIterator[Launcher]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.nursery"),
        msgspec.json.encode(configs).decode(),
        *preload,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    launcher = Launcher(process)
    try:
        launcher.nursery = (await launcher.says())["nursery"]
        yield launcher
    finally:
        if process.returncode is None:
            process.kill()
        async with asyncio.timeout(PATIENCE):
            await process.wait()


ADD = "def main(x: int): return x + 1"


async def test_a_forked_worker_serves_as_any_other() -> None:
    config = worker_config()
    async with launched(config) as launcher:
        worker = await launcher.worker(config)
        async with linked(worker) as gateway:
            assert (await gateway.run(ADD, {"x": 1})).outputs == 2
            crashed = await gateway.run("import os\ndef main(): os.abort()")
            assert crashed.failure.signal == "SIGABRT"
            source = "def main(session): session.state['a'] = 1"
            assert (await gateway.run(source, session=SessionRef("s", 1))).outputs is None
            assert await worker.is_ready()


async def test_a_forked_worker_stops_with_status_0_and_leaves_nothing() -> None:
    config = worker_config()
    async with launched(config) as launcher:
        worker = await launcher.worker(config)
        pids = [process.pid for process in process_tree.below(worker.pid)]
        os.kill(worker.pid, signal.SIGTERM)
        assert await launcher.status_of(worker.pid) == 0
        assert await process_tree.until_gone(pids) == []


async def test_many_workers_start_and_are_children_of_the_launcher() -> None:
    configs = [worker_config(f"w{number}") for number in range(8)]
    async with launched(*configs) as launcher:
        workers = [await launcher.worker(config) for config in configs]
        ours = {
            p.pid for p in process_tree.below(launcher.process.pid) if p.name == "anypod-worker"
        }
        assert ours == {worker.pid for worker in workers}
        for worker in workers:
            async with linked(worker) as gateway:
                assert (await gateway.run(ADD, {"x": 1})).outputs == 2


async def test_what_many_workers_preload_is_imported_once(tmp_path: Path) -> None:
    imported = tmp_path / "imported"
    (tmp_path / "large.py").write_text(
        f"import os\nwith open({str(imported)!r}, 'a') as file: print(os.getpid(), file=file)\n"
    )
    configs = [worker_config(f"w{number}", preload=["large"]) for number in range(3)]
    async with launched(*configs, preload=["large"], PYTHONPATH=str(tmp_path)) as launcher:
        for config in configs:
            async with linked(await launcher.worker(config)) as gateway:
                source = "import sys\ndef main(): return 'large' in sys.modules"
                assert (await gateway.run(source)).outputs is True
        assert imported.read_text() == f"{launcher.nursery}\n"


async def test_what_cannot_be_preloaded_harms_no_worker_that_does_without(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise SystemError\n")
    config = worker_config()
    given = ["broken", "no_such_module"]
    async with (
        launched(config, preload=given, PYTHONPATH=str(tmp_path)) as launcher,
        linked(await launcher.worker(config)) as gateway,
    ):
        assert (await gateway.run(ADD, {"x": 1})).outputs == 2


async def test_a_programs_environment_is_the_pools() -> None:
    config = worker_config(env={"MODEL": "small"})
    async with launched(config, HOST_SECRET="x") as launcher:
        worker = await launcher.worker(config)
        async with linked(worker) as gateway:
            source = "import os\ndef main(): return dict(os.environ)"
            seen = (await gateway.run(source)).outputs
            assert set(seen) == {"PATH", "HOME", "LANG", "TMPDIR", "MODEL"}


async def test_the_secret_is_in_the_supervisor_alone() -> None:
    """Read from outside, which takes root; the executor's own view is tested elsewhere."""
    config = worker_config(executors=1)
    async with launched(config) as launcher:
        worker = await launcher.worker(config)
        with_secret = set()
        for process in [*process_tree.below(worker.pid), *process_tree.below(launcher.process.pid)]:
            if process.name.startswith("anypod") and holds(process.pid, TOKEN.encode()):
                with_secret.add(process.pid)
        if os.getuid() == 0:
            assert with_secret == {worker.pid}
        else:
            assert with_secret == set(), "not even the same user may look"


def holds(pid: int, secret: bytes) -> bool:
    try:
        maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            return any(secret in region(memory, line) for line in maps)
    except OSError:
        return False


def region(memory: FileIO, line: str) -> bytes:
    """What a line of a process's maps is about, if the process can write there."""
    place, access = line.split()[:2]
    if not access.startswith("rw"):
        return b""
    start, end = (int(side, 16) for side in place.split("-"))
    memory.seek(start)
    try:
        return memory.read(end - start) or b""
    except OSError:
        return b""


async def test_when_the_launcher_is_killed_workers_and_nursery_go_at_once(tmp_path: Path) -> None:
    configs = [worker_config(f"w{number}", drain_seconds=1000) for number in range(2)]
    daemon = """
import os, time
def main():
    if os.fork() == 0:
        os.setsid()
        time.sleep(1000)
    time.sleep(1000)
"""
    async with launched(*configs) as launcher:
        workers = [await launcher.worker(config) for config in configs]
        async with linked(workers[0]) as gateway:
            await gateway.begin(daemon)
            await gateway.until(lambda: gateway.load.busy == 1)
            pids = [process.pid for process in process_tree.below(launcher.process.pid)]
            assert {launcher.nursery, *(worker.pid for worker in workers)} <= set(pids)
            launcher.process.kill()
            assert await process_tree.until_gone(pids) == []


async def test_when_the_nursery_is_killed_workers_go_on() -> None:
    config = worker_config()
    async with launched(config) as launcher:
        worker = await launcher.worker(config)
        os.kill(launcher.nursery, signal.SIGKILL)
        assert await process_tree.until_gone([launcher.nursery]) in ([], [launcher.nursery])
        async with linked(worker) as gateway:
            for _ in range(3):
                assert (await gateway.run("import os\ndef main(): os._exit(1)")).failure
            assert (await gateway.run(ADD, {"x": 1})).outputs == 2


async def test_when_the_socket_is_closed_the_nursery_ends_and_workers_go_on() -> None:
    config = worker_config()
    async with launched(config) as launcher:
        worker = await launcher.worker(config)
        await launcher.order("close")
        assert await launcher.status_of(launcher.nursery) == 0
        async with linked(worker) as gateway:
            assert (await gateway.run(ADD, {"x": 1})).outputs == 2


async def test_a_worker_that_was_killed_has_a_successor() -> None:
    config = worker_config()
    async with launched(config) as launcher:
        worker = await launcher.worker(config)
        os.kill(worker.pid, signal.SIGKILL)
        assert await launcher.status_of(worker.pid) == -signal.SIGKILL
        successor = await launcher.spawn(config)
        assert successor.pid != worker.pid
        async with linked(successor) as gateway:
            assert (await gateway.run(ADD, {"x": 1})).outputs == 2


async def test_a_zygote_of_a_forked_worker_is_started_again() -> None:
    config = worker_config(executors=1)
    async with launched(config) as launcher:
        worker = await launcher.worker(config)
        (zygote,) = process_tree.named(worker.pid, "anypod-zygote")
        os.kill(zygote, signal.SIGKILL)
        wanted = ["anypod-zygote"] + ["anypod-executor"] * 2
        assert await process_tree.until_gone([zygote]) == []
        assert await process_tree.until_names_are(worker.pid, wanted, PATIENCE) == sorted(wanted)
        async with linked(worker) as gateway:
            for _ in range(2):
                while (await gateway.run("import os\ndef main(): os._exit(1)")).refused:
                    await gateway.until(lambda: gateway.load.idle > 0)
