"""Three pools of one gateway, and the programs and the session that the page's calls need."""

import contextlib
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from tests.integration.dspy.conftest import WORKERS, manifest, up_with_keys
from tests.support.anypod_up import ready_workers
from tests.support.lm_server import LmServer, chat, lm_server
from tests.support.local import eventually

from anypod.client import Answer, Client
from anypod.client.errors import NotFound


@pytest.fixture(scope="package")
def asked() -> Iterator[LmServer]:
    with lm_server(lambda _: chat(answer="42")) as server:
        yield server


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("from-dspex")


@pytest.fixture(scope="package")
def url(asked: LmServer, folder: Path) -> Iterator[str]:
    """Of three pools: one without workers, and one where nobody may wait either."""
    pools = [yaml.safe_load(manifest(asked.url))]
    for name, queue in (("empty", {"maxWaitSeconds": 0}), ("full", {"depth": 0})):
        kind = {"apiVersion": "anypod.dev/v1alpha1", "kind": "WorkerPool"}
        pools.append({**kind, "metadata": {"name": name}, "spec": {"replicas": 0, "queue": queue}})
    with up_with_keys(folder, yaml.safe_dump_all(pools)) as found:
        yield found


@pytest.fixture
def ready(url: str) -> Iterator[str]:
    """With the programs and the session of the page, and with all workers."""
    with Client(url, timeout=60) as client:
        eventually(lambda: ready_workers(client) == WORKERS, "workers are ready")
        client.programs.put("qa", kind="dspy", signature="question -> answer")
        client.programs.put("greet", source="def main(name: str) -> str:\n    return name\n")
        client.programs.put("counting", source="def main(n: int):\n    yield from range(n)\n")
        client.programs.put("remember", source=REMEMBER)
        session = client.session("s1")
        session.run("remember", {"name": "kept", "value": 1})
        session.programs.put("own", source="def main() -> int:\n    return 1\n")
        yield url
        with contextlib.suppress(NotFound):
            session.end()


REMEMBER = """
from typing import Any

from anypod import session


def main(name: str, value: Any) -> dict[str, Any]:
    session.state[name] = value
    return dict(session.state)
"""


HELD = """
import time
from pathlib import Path


def main(until: str) -> None:
    while not Path(until).exists():
        time.sleep(0.02)
"""


@contextlib.contextmanager
def held(
    client: Client, program: str, folder: Path, count: int
) -> Iterator[list["Future[Answer]"]]:
    """So many runs of a program with that source, which go on until the block ends."""
    until = folder / uuid.uuid4().hex
    with ThreadPoolExecutor(count) as threads:
        run = {"until": str(until)}
        try:
            yield [threads.submit(client.run, program, run) for _ in range(count)]
        finally:
            until.touch()
