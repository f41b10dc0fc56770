"""AnyPod's own side: one gateway over SQLite and some workers, as processes."""

import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from anypod.resources import pools_file
from anypod.resources.pools_file import PoolEntry, PoolsFile, WorkerEndpoint
from anypod.resources.worker_config import worker_config
from anypod.resources.workerpool import API_VERSION, KIND, WorkerPool
from benchmarks import processes

PROGRAM = """
def main(x: int, text: str) -> dict[str, int | str]:
    return {"y": x + 1, "text": text}
"""
INPUTS = b'{"inputs":{"x":41,"text":"hello world"}}'
OUTPUTS = {"y": 42, "text": "hello world"}


def pool(workers: int, executors: int, **spec: Any) -> WorkerPool:
    return WorkerPool.model_validate(
        {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": "default"},
            "spec": {"replicas": workers, "executors": executors, **spec},
        }
    )


@contextmanager
def worker(directory: Path, name: str, given: WorkerPool, port: int) -> Iterator[int]:
    """Ready; its pid."""
    config, token = directory / f"{name}.json", directory / "token"
    config.write_bytes(msgspec.json.encode(worker_config(given, name, port=port)))
    command = processes.python(
        *("-m", "anypod_worker", "--config-file", str(config), "--token-file", str(token))
    )
    with processes.running(command, directory / f"{name}.log") as process:
        ready = f"http://127.0.0.1:{port}/readyz"
        processes.wait_for(f"readiness of {name}", lambda: processes.answers(ready))
        yield process.pid


@contextmanager
def gateway(directory: Path, *module: str) -> Iterator[tuple[str, int]]:
    """The URL and the pid of a ready one; ``module``: another one, and its first arguments."""
    port = processes.free_port()
    command = processes.python(
        *("-m", *(module or ("anypod_gateway",))),
        *("--listen", f"127.0.0.1:{port}", "--store", f"sqlite:{directory / f'{port}.db'}"),
        *("--pools-file", str(directory / "pools.json")),
        *("--link-token-file", str(directory / "token"), "--log-format", "json"),
    )
    url = f"http://127.0.0.1:{port}"
    with processes.running(command, directory / f"gateway-{port}.log") as process:
        processes.wait_for("readiness of the gateway", lambda: processes.answers(f"{url}/readyz"))
        yield url, process.pid


@contextmanager
def workers(directory: Path, given: WorkerPool) -> Iterator[list[int]]:
    """Pids of as many ready workers as the pool has, which the pools file names."""
    (directory / "token").write_text(secrets.token_urlsafe(32))
    with ExitStack() as stack:
        ports = {
            f"w{number}": processes.free_port() for number in range(1, given.spec.replicas + 1)
        }
        pids = [
            stack.enter_context(worker(directory, name, given, port))
            for name, port in ports.items()
        ]
        endpoints = [
            WorkerEndpoint(name=name, host="127.0.0.1", port=port, ready=True)
            for name, port in ports.items()
        ]
        entry = PoolEntry(pool=given, workers=endpoints)
        pools_file.write(directory / "pools.json", PoolsFile(pools=[entry]))
        yield pids


def create_program(url: str, source: str = PROGRAM) -> str:
    """The URL that runs it."""
    return create(url, {"id": "benchmarked", "kind": "python", "source": source})


def create(url: str, program: dict[str, Any]) -> str:
    """The URL that runs it."""
    body = json.dumps(program).encode()
    programs = f"{url}/v1/pools/default/programs"

    processes.wait_for(
        "creation of the program", lambda: processes.ask(programs, body)[0] in {200, 201}
    )
    return f"{programs}/{program['id']}/run"
