"""A local pool starts, says where it is, and ends with nothing left."""

import json
import os
import signal
import socket
import stat
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.support.local import (
    ANYPOD,
    PATIENCE,
    LocalPool,
    command_of,
    eventually,
    is_running,
    local_pool,
)

from anypod.client import Client

pytestmark = pytest.mark.timeout(400)  # a busy machine starts pools slowly

SLOW = """
import time
def main(seconds: float) -> str:
    print("began", flush=True)
    time.sleep(seconds)
    return "done"
"""


def test_a_pool_runs_what_it_is_given(pool: LocalPool) -> None:
    with pool.client() as client:
        assert client.run_source("def main(n: int): return n + 1", {"n": 1}).outputs == 2
        document = client.pools.get("default")
        assert (document.workers.total, document.workers.ready) == (2, 2)
        assert {worker.name for worker in client.workers.list()} == {"w1", "w2"}


def test_what_a_shell_had_started_before_it_became_the_pool_is_spared(tmp_path: Path) -> None:
    (tmp_path / "start").write_text(
        f'#!/bin/sh\nsleep 600 &\necho $! > sleeper\nexec {ANYPOD} "$@"\n'
    )
    (tmp_path / "start").chmod(0o755)
    with local_pool(tmp_path, workers=1, anypod=[tmp_path / "start"]) as pool:
        pool.ready()
        sleeper = int((tmp_path / "sleeper").read_text())
        os.kill(pool.workers()[0], signal.SIGKILL)
        pool.wait_for("is ready again")
        assert is_running(sleeper)
        pool.send(signal.SIGTERM)
        assert pool.process.wait(PATIENCE) == 0
        assert is_running(sleeper)
        os.kill(sleeper, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_clean(tmp_path: Path, number: signal.Signals) -> None:
    with local_pool(tmp_path) as pool:
        pool.ready()
        assert pool.stop(number) == 0
        assert [p.name for p in (tmp_path / ".anypod/run").iterdir()] == ["up.json"]


def test_it_can_be_stopped_before_it_is_ready(tmp_path: Path) -> None:
    with local_pool(tmp_path) as pool:
        eventually(lambda: pool.nursery, "the nursery exists")
        assert pool.stop() == 0


def test_what_runs_is_finished_before_the_end(pool: LocalPool) -> None:
    answers: list[Any] = []
    with pool.client() as client:
        client.programs.put("slow", source=SLOW)
        call = threading.Thread(
            target=lambda: answers.append(client.run("slow", {"seconds": 2}).outputs)
        )
        call.start()
        _wait_until_it_runs(pool)
        assert pool.stop(signal.SIGINT) == 0
        call.join(PATIENCE)
    assert answers == ["done"]


def test_a_second_interrupt_ends_it_at_once(pool: LocalPool) -> None:
    with pool.client(retries=0) as client:
        client.programs.put("slow", source=SLOW)
        call = threading.Thread(target=_ignore_failure, args=(client, {"seconds": 300}))
        call.start()
        _wait_until_it_runs(pool)
        pool.send(signal.SIGINT)
        pool.wait_for("stopping")
        assert pool.process.poll() is None
        assert pool.stop(signal.SIGINT) == 0
        call.join(PATIENCE)


def _ignore_failure(client: Client, inputs: dict[str, Any]) -> None:
    with pytest.raises(ConnectionError):
        client.run("slow", inputs, timeout=500)


def _wait_until_it_runs(pool: LocalPool) -> None:
    eventually(lambda: '"began"' in pool.log(), "the program has begun")


def test_one_directory_has_one_pool(pool: LocalPool) -> None:
    second = _up(pool.directory, "--port", "0")
    assert second.returncode == 2
    assert f"pid {pool.pid}, {pool.url}" in second.stderr
    assert "--dir" in second.stderr
    with pool.client() as client:
        assert client.pools.get("default").workers.ready == 2
    with local_pool(pool.directory, "--dir", "other", workers=1) as other:
        other.wait_for("ready after")


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        failed = _up(tmp_path, "--port", str(port))
    assert failed.returncode == 2
    assert f"port {port} of 127.0.0.1 is taken" in failed.stderr
    assert "--port" in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-f", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        (["-f", "pool.yaml"], "pool.yaml:5: spec.executors: should be"),
        (["--workers", "0"], "workers"),
        (["--preload", "no module"], "spec.preload[0]"),
        (["--store", "mysql://x"], "--store"),
        (["--store", "etcd://host:port"], "cannot start"),
        (["--host", "no.such.name.invalid"], "no.such.name.invalid"),
        (["--host", "203.0.113.7"], "203.0.113.7"),
    ],
)
def test_what_makes_no_sense_is_said_and_starts_nothing(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "pool.yaml").write_text(
        "apiVersion: anypod.dev/v1alpha1\nkind: WorkerPool\nmetadata: {name: a}\n"
        "spec:\n  executors: 0\n"
    )
    failed = _up(tmp_path, "--port", "0", *arguments)
    assert failed.returncode == 2, failed.stderr
    assert said in failed.stderr
    assert "Traceback" not in failed.stderr
    assert failed.stdout == ""


def _up(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [ANYPOD, "up", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_several_pools_share_one_gateway(tmp_path: Path) -> None:
    document = "apiVersion: anypod.dev/v1alpha1\nkind: WorkerPool\nmetadata: {{name: {}}}\n"
    (tmp_path / "pools.yaml").write_text(
        "---\n".join(
            [
                document.format("texts") + "spec: {replicas: 1, env: [{name: WHO, value: t}]}\n",
                document.format("tables") + "spec: {replicas: 2, env: [{name: WHO, value: a}]}\n",
            ]
        )
    )
    who = "import os\ndef main(): return os.environ['WHO']"
    with local_pool(tmp_path, "-f", "pools.yaml", workers=None) as pool:
        pool.ready()
        with pool.client("texts") as texts, pool.client("tables") as tables:

            def all_ready() -> bool:
                found = {one.name: one.workers.ready for one in texts.pools.list()}
                return found == {"texts": 1, "tables": 2}

            # The launcher knows it a moment before the gateway does.
            eventually(all_ready, "the gateway has both pools, and all their workers")
            assert [texts.run_source(who).outputs, tables.run_source(who).outputs] == ["t", "a"]


def test_programs_outlive_the_pool(tmp_path: Path) -> None:
    for _ in range(2):
        with local_pool(tmp_path, workers=1) as pool:
            pool.ready()
            with pool.client() as client:
                client.programs.create("kept", source="def main(): return 'kept'")
                assert client.run("kept").outputs == "kept"


def test_no_process_shows_a_secret(tmp_path: Path) -> None:
    secret = "hunter2-of-the-users-shell"
    with local_pool(tmp_path, environment={"AWS_SECRET": secret}, workers=1) as pool:
        pool.ready()
        token = (tmp_path / ".anypod/run/link-token").read_text()
        family = pool.family()
        assert len(family) >= 5, [command_of(pid) for pid in family]
        for pid in family:
            shown = _shown(pid)
            assert token not in shown, command_of(pid)
            assert secret not in shown, command_of(pid)
        assert token not in _shown(pool.pid)
        assert token not in pool.log()


def _shown(pid: int) -> str:
    found = ""
    for name in ("environ", "cmdline"):
        try:
            found += Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
        except OSError:
            continue
    return found


def test_what_only_the_user_may_read_is_so(pool: LocalPool) -> None:
    run = pool.directory / ".anypod/run"
    assert stat.S_IMODE(run.stat().st_mode) == 0o700
    assert stat.S_IMODE((run / "link-token").stat().st_mode) == 0o600
    announced = json.loads((run / "up.json").read_text())
    assert announced == {"pid": pool.pid, "url": pool.url}
    assert os.getpid() != pool.pid
