"""Whatever is killed is replaced, and whoever is killed leaves nobody behind."""

import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.local import (
    IMPATIENT,
    PATIENCE,
    LocalPool,
    command_of,
    eventually,
    is_running,
    local_pool,
)

from anypod.client import AnswerLost, Client, Unreachable, WorkerLost

pytestmark = pytest.mark.timeout(400)  # a busy machine starts pools slowly


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPool]:
    """One pool outlives all that these tests do to it, and ends as if it had not happened."""
    with local_pool(tmp_path_factory.mktemp("pool"), anypod=IMPATIENT) as started:
        yield started.ready()
        assert started.stop() == 0


@pytest.fixture
def pool(lasting: LocalPool) -> Iterator[LocalPool]:
    lasting.forget_log()
    yield lasting
    with lasting.client() as client:
        eventually(lambda: all_ready(lasting, client), "all are ready again")
    assert len(lasting.workers()) == 2


HANG = """
import os, sys, time
def main():
    # A grandchild in a session of its own, whose parent is gone: what a program leaves behind.
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid:
            os.write(write, str(pid).encode())
            os._exit(0)
        time.sleep(600)
        os._exit(0)
    yield int(os.read(read, 20))
    time.sleep(600)
"""


class Hanging:
    """A call that is under way, with what its program has started."""

    def __init__(self, client: Client) -> None:
        self.failure: Exception | None = None
        self._stream = client.stream_source(HANG, timeout=500)
        first: Any = next(self._stream)
        self.grandchild = int(first.data)
        self._thread = threading.Thread(target=self._wait)
        self._thread.start()

    def _wait(self) -> None:
        try:
            list(self._stream)
        except Exception as failure:
            self.failure = failure

    def ended(self) -> Exception | None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self.failure


def supervisor(pool: LocalPool) -> int:
    return pool.workers()[0]


def zygote(pool: LocalPool) -> int:
    return pool.named("anypod-zygote")[0]


def executor(pool: LocalPool) -> int:
    return pool.named("anypod-exec")[0]


def all_ready(pool: LocalPool, client: Client) -> bool:
    try:
        document = client.pools.get("default")
    except (ConnectionError, TimeoutError):
        return False
    return document.workers.ready == document.workers.total == len(pool.workers())


@pytest.mark.parametrize(
    "victim",
    [
        pytest.param(lambda pool: pool.nursery, id="nursery"),
        pytest.param(lambda pool: pool.gateway, id="gateway"),
        supervisor,
        zygote,
        executor,
    ],
)
def test_what_is_killed_is_replaced(pool: LocalPool, victim: Callable[[LocalPool], int]) -> None:
    with pool.client(retries=5) as client:
        before = set(pool.family())
        pid = victim(pool)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not is_running(pid), "the victim is dead")
        eventually(lambda: set(pool.family()) - before, "somebody takes its place")
        eventually(lambda: all_ready(pool, client), "all are ready again")
        assert client.run_source("def main(): return 1", idempotent=True).outputs == 1


def test_workers_are_replaced_again_and_again(pool: LocalPool) -> None:
    with pool.client() as client:
        for time in range(1, 3):
            for pid in pool.workers():
                os.kill(pid, signal.SIGKILL)
            pool.wait_for("is ready again", 2 * time)
            eventually(lambda: all_ready(pool, client), "all are ready again")


def test_a_worker_killed_under_a_call_leaves_nothing_of_it(pool: LocalPool) -> None:
    with pool.client() as client:
        call = Hanging(client)
        (pid,) = [pid for pid in pool.workers() if call.grandchild in _below(pool, pid)]
        os.kill(pid, signal.SIGKILL)
        assert isinstance(call.ended(), WorkerLost)
        eventually(lambda: not is_running(call.grandchild), "what the program left is gone")


def _below(pool: LocalPool, pid: int) -> list[int]:
    from anypod.local import processes

    pool.family()
    return processes.below(pid, processes.family_tree())


def test_a_gateway_killed_under_a_call_is_replaced_and_the_call_is_cancelled(
    pool: LocalPool,
) -> None:
    with pool.client() as client:
        call = Hanging(client)
        before = set(pool.workers())
        os.kill(pool.gateway, signal.SIGKILL)
        assert isinstance(call.ended(), AnswerLost)
        eventually(lambda: all_ready(pool, client), "all are ready again")
        eventually(lambda: not is_running(call.grandchild), "the call is cancelled")
        assert set(pool.workers()) == before


def test_calls_while_the_gateway_is_away_wait_for_it(pool: LocalPool) -> None:
    with pool.client(retries=0) as client:
        client.programs.put("one", source="def main(): return 1")
    gateway = pool.gateway
    os.kill(gateway, signal.SIGKILL)
    eventually(lambda: not is_running(gateway), "the gateway is dead")
    with pool.client(retries=0) as client:
        assert client.run("one").outputs == 1


def test_a_launcher_killed_under_a_call_leaves_nobody(tmp_path: Path) -> None:
    with local_pool(tmp_path) as pool:
        pool.ready()
        with pool.client(retries=0) as client:
            call = Hanging(client)
            assert len(pool.family()) >= 9, [command_of(pid) for pid in pool.family()]
            pool.process.kill()
            assert isinstance(call.ended(), AnswerLost | Unreachable)
            pool.process.wait(PATIENCE)
            pool.seen.add(call.grandchild)
            pool.assert_all_gone()
    with local_pool(tmp_path, workers=1) as again:
        again.ready()


def test_a_launcher_killed_at_its_start_leaves_nobody(tmp_path: Path) -> None:
    for moment in (0.0, 0.3, 1.0):
        with local_pool(tmp_path) as pool:
            eventually(lambda: pool.nursery, "the nursery exists")
            time.sleep(moment)  # no event marks these moments; each must be safe
            pool.family()
            pool.process.kill()
            pool.process.wait(PATIENCE)
            pool.assert_all_gone()


def test_a_frozen_worker_leaves_the_ready_set_and_is_replaced(pool: LocalPool) -> None:
    with pool.client() as client:
        pid = pool.workers()[0]
        os.kill(pid, signal.SIGSTOP)
        pool.wait_for("is not ready: does not answer")
        eventually(
            lambda: client.pools.get("default").workers.ready == 1, "the gateway knows of it"
        )
        for _ in range(10):
            assert client.run_source("def main(): return 1").outputs == 1
        pool.wait_for("does not answer and is killed")
        eventually(lambda: all_ready(pool, client), "all are ready again")
        assert pid not in pool.workers()


def test_a_frozen_gateway_is_replaced(pool: LocalPool) -> None:
    pid = pool.gateway
    os.kill(pid, signal.SIGSTOP)
    pool.wait_for("the gateway does not answer and is killed")
    with pool.client(timeout=PATIENCE) as client:
        assert client.run_source("def main(): return 1").outputs == 1
    assert pool.gateway != pid


def test_a_frozen_nursery_does_not_hold_up_a_worker_for_ever(pool: LocalPool) -> None:
    frozen = pool.nursery
    os.kill(frozen, signal.SIGSTOP)
    os.kill(pool.workers()[0], signal.SIGKILL)
    eventually(lambda: not is_running(frozen), "the frozen nursery is given up")


def test_a_launcher_that_can_start_nobody_for_a_while_goes_on(pool: LocalPool) -> None:
    gateway, nursery, worker = pool.gateway, pool.nursery, pool.workers()[0]
    soft, hard = resource.prlimit(pool.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pool.pid, resource.RLIMIT_NOFILE, (0, hard))
    try:
        for victim in (gateway, nursery, worker):
            os.kill(victim, signal.SIGKILL)
        pool.wait_for("the gateway could not be started: Too many open files; trying again in")
        pool.wait_for("the nursery could not be started: Too many open files; trying again in")
        pool.wait_for("could not be given a port: Too many open files")
    finally:
        resource.prlimit(pool.pid, resource.RLIMIT_NOFILE, (soft, hard))


MANIFEST = """
apiVersion: anypod.dev/v1alpha1
kind: WorkerPool
metadata: {{name: default}}
spec:
  replicas: 2
  preload: [broken_module]
  env: [{{name: PYTHONPATH, value: "{}"}}]
"""


def test_a_preload_that_fails_is_said_and_tried_until_it_works(tmp_path: Path) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    module = modules / "broken_module.py"
    module.write_text("raise RuntimeError('the licence has expired')\n")
    (tmp_path / "pool.yaml").write_text(MANIFEST.format(modules))
    with local_pool(tmp_path, "-f", "pool.yaml", workers=None, anypod=IMPATIENT) as pool:
        said = pool.wait_for("the licence has expired")
        assert "preload of broken_module failed: RuntimeError" in said["message"]
        with pool.client() as client:
            document = client.pools.get("default")
            assert "the licence has expired" in document.message
            assert document.workers.ready == 0
            eventually(
                lambda: "trying again in" in client.pools.get("default").message,
                "a worker has given up for now, and is to be a new process",
            )
            module.write_text("")
            eventually(lambda: all_ready(pool, client), "all are ready")
            assert client.pools.get("default").message == ""
        pool.wait_for("ready after")
        assert pool.stop() == 0


def test_a_preload_that_kills_the_process_is_said(tmp_path: Path) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "broken_module.py").write_text("import os\nos.abort()\n")
    (tmp_path / "pool.yaml").write_text(MANIFEST.format(modules))
    with local_pool(tmp_path, "-f", "pool.yaml", workers=None) as pool:
        pool.wait_for("preload of broken_module failed: its process died of signal 6")
        assert pool.stop() == 0
