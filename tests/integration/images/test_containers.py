"""Containers of the images, under everything that a strict pod may demand of them."""

import contextlib
import dataclasses
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster import images
from tests.cluster.archives import Archive
from tests.cluster.images import containers, measure, pods
from tests.cluster.images.containers import Container, Order
from tests.cluster.waiting import wait_until
from tests.support.figures import Figure
from tests.support.ports import free_port

from anypod.client import Client, ProgramFailed
from anypod.resources import pools_file
from anypod.resources.pools_file import PoolEntry, PoolsFile, WorkerEndpoint
from anypod.resources.workerpool import API_VERSION, KIND, WorkerPool

ROOT = Path(__file__).parents[3]
SHELLS = ("usr/bin/dash", "usr/bin/bash", "bin/busybox")
ANY_UID = 1_000_650_000
"""As a cluster assigns them that lets nobody choose."""

Images = dict[str, Archive]

pytestmark = pytest.mark.timeout(1800)

LOOK_AROUND = """
import os, subprocess, sys
from pathlib import Path

def main(folders: list[str]) -> dict:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "uid": os.getuid(),
        "parent": os.getppid(),
        "capabilities": {name: int(status[name], 16) for name in status if name.startswith("Cap")},
        "no new privileges": int(status["NoNewPrivs"]),
        "seccomp": int(status["Seccomp"]),
        "writable": [folder for folder in folders if may_write(folder)],
        "shell": run(["/bin/sh", "-c", "echo here"]),
        "python": run([sys.executable, "-c", "import pydantic; print('here')"]),
        "kill": kill_the_first_process(),
    }

def may_write(folder):
    try:
        Path(folder, "written").write_text("")
    except OSError:
        return False
    return True

def run(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip()
    except OSError as error:
        return type(error).__name__

def kill_the_first_process():
    try:
        os.kill(1, 9)
    except PermissionError:
        return "forbidden"
    return "in vain"
"""


@contextlib.contextmanager
def world_readable() -> Iterator[Path]:
    """A folder that a container's user can enter, as pytest's own cannot be."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def tell(folder: Path, **workers: int) -> None:
    """The gateway which workers there are, by port; all are ready."""
    pool = WorkerPool.model_validate(
        {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "default"}}
    )
    endpoints = [
        WorkerEndpoint(name=name, host="127.0.0.1", port=port, ready=True)
        for name, port in workers.items()
    ]
    content = PoolsFile(pools=[PoolEntry(pool=pool, workers=endpoints)])
    pools_file.write(folder / pods.POOLS_FILE, content)


@contextlib.contextmanager
def stack(
    built: Images, *, store: str = "sqlite:/tmp/store.db", **changes: Any
) -> Iterator[tuple[Client, Container, Container]]:
    """A client of a gateway in a container, which has a worker in another; both are ready.

    ``changes`` are of both containers' orders.
    """
    worker_port, gateway_port = free_port(), free_port()
    with world_readable() as pools, contextlib.ExitStack() as exits:
        tell(pools)
        orders = (
            pods.worker(built[images.WORKER].path, worker_port),
            pods.gateway(built[images.ANYPOD].path, gateway_port, pools, store),
        )
        worker, gateway = (
            exits.enter_context(containers.running(dataclasses.replace(order, **changes)))
            for order in orders
        )
        worker.until_answers(worker_port, "/readyz")
        tell(pools, w1=worker_port)
        gateway.until_answers(gateway_port, "/readyz")
        client = exits.enter_context(Client(f"http://127.0.0.1:{gateway_port}"))
        yield client, worker, gateway


def shells_of(image: Archive) -> list[str]:
    return [f"/{file.path}" for file in image.files() if file.path in SHELLS]


def test_a_program_runs_with_no_rights_and_no_shell(runnable: Images) -> None:
    shells = shells_of(runnable[images.WORKER])
    assert shells
    folders = ["/", "/etc", "/opt/anypod", "/dev/shm", "/run", "/tmp", "/var/tmp"]
    with stack(runnable, masked=shells) as (client, worker, gateway):
        client.programs.put("look_around", source=LOOK_AROUND)
        found = client.run("look_around", {"folders": folders}).outputs
        assert found["uid"] == 65532
        assert found["parent"] == 1
        assert set(found["capabilities"].values()) == {0}
        assert found["no new privileges"] == 1
        assert found["seccomp"] == 2
        assert found["writable"] == ["/dev/shm", "/tmp"]
        assert found["shell"] == "PermissionError"
        assert found["python"] == "here"
        assert found["kill"] in ("forbidden", "in vain")
        assert client.run("look_around", {"folders": []}).outputs["uid"] == 65532
        assert worker.stop() == 0
        assert gateway.stop() == 0


def test_containers_are_ready_as_they_come_from_the_image(runnable: Images, figure: Figure) -> None:
    worker = measure.worker_seconds(runnable[images.WORKER].path)
    gateway = measure.gateway_seconds(runnable[images.ANYPOD].path)
    figure(f"a container's start to /readyz: worker {worker:.2f} s, gateway {gateway:.2f} s")


def test_any_user_will_do(runnable: Images) -> None:
    with stack(runnable, user=ANY_UID) as (client, _, _):
        client.programs.put("look_around", source=LOOK_AROUND)
        found = client.run("look_around", {"folders": ["/tmp"]}).outputs
        assert found["uid"] == ANY_UID
        assert found["writable"] == ["/tmp"]


def test_a_crash_is_the_programs_alone(runnable: Images) -> None:
    with stack(runnable) as (client, _, _):
        client.programs.put("crash", source="import os\ndef main(): os.abort()")
        client.programs.put("square", source="def main(x: int) -> int:\n    return x * x\n")
        for number in range(3):
            with pytest.raises(ProgramFailed, match="SIGABRT"):
                client.run("crash", {})
            assert client.run("square", {"x": number}).outputs == number * number


def test_a_stop_lets_what_runs_finish(runnable: Images) -> None:
    """The first process of a container gets no signal that it does not ask for."""
    source = "import time\ndef main():\n    yield 'began'\n    time.sleep(1)\n    yield 'ended'\n"
    with stack(runnable) as (client, worker, _):
        client.programs.put("slow", source=source)
        chunks = iter(client.stream("slow", {}))
        first = next(chunks)
        worker.signal("TERM")
        assert [first, *chunks]
        assert worker.until_ended() == 0


def modules_of_the_image() -> list[str]:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    packages = {Path(path).name for path in wheel["targets"]["wheel"]["packages"]}
    return sorted(packages - {"anypod", "anypod_worker"})


@pytest.mark.parametrize("module", modules_of_the_image())
def test_the_image_runs_each_of_its_modules(runnable: Images, module: str) -> None:
    image = runnable[images.ANYPOD]
    order = Order(image.path, [module, "--help"], masked=shells_of(image))
    with containers.running(order) as container:
        assert container.until_ended() == 0
        assert "usage" in container.log.lower()


# etcd


@contextlib.contextmanager
def running_etcd(image: Archive) -> Iterator[tuple[Container, int]]:
    client_port, peer_port = free_port(), free_port()
    with containers.running(pods.etcd(image.path, client_port, peer_port)) as container:
        container.until_answers(client_port, "/health")
        yield container, client_port


def test_a_gateway_keeps_programs_in_the_etcd_of_the_image(runnable: Images) -> None:
    with running_etcd(runnable[images.ETCD]) as (_, port):
        store = f"etcd://127.0.0.1:{port}"
        with stack(runnable, store=store) as (client, _, _):
            client.programs.put("square", source="def main(x: int) -> int:\n    return x * x\n")
        with stack(runnable, store=store) as (client, _, _):
            assert client.run("square", {"x": 12}).outputs == 144


def test_the_etcd_image_has_what_a_snapshot_takes(runnable: Images) -> None:
    image = runnable[images.ETCD]
    with running_etcd(image) as (etcd, port):
        script = (
            f"etcdctl --endpoints=http://127.0.0.1:{port} snapshot save /tmp/snapshot"
            " && etcdctl snapshot status /tmp/snapshot && gzip -k /tmp/snapshot"
            " && mv /tmp/snapshot.gz /tmp/$(date +%Y%m%dT%H%M%S).gz"
            " && find /tmp -name '*.gz' -mtime +7 -delete && ls /tmp"
        )
        with containers.running(Order(image.path, ["sh", "-ec", script])) as job:
            assert job.until_ended() == 0, job.log
        assert etcd.stop() in (0, 143), etcd.log


def test_a_worker_says_what_it_lacks(runnable: Images) -> None:
    order = pods.worker(runnable[images.WORKER].path, 1)
    with containers.running(dataclasses.replace(order, env={})) as container:
        assert container.until_ended() != 0
        assert "ANYPOD_WORKER_CONFIG" in container.log


def test_the_gateways_default_is_its_help(runnable: Images) -> None:
    with containers.running(Order(runnable[images.ANYPOD].path)) as container:
        assert container.until_ended() == 0
        assert "--link-token-file" in container.log


def test_a_container_keeps_its_files_wherever_its_archive_lies(
    runnable: Images, tmp_path: Path
) -> None:
    archive = tmp_path / "elsewhere.tar"
    archive.symlink_to(runnable[images.ETCD].path)
    with containers.running(Order(archive, ["sh", "-ec", "echo up; sleep 600"])) as one:
        wait_until(lambda: "up" in one.log, "its first word", 60)
        with containers.running(Order(runnable[images.WORKER].path, ["--help"])) as another:
            another.until_ended()
        assert Path(f"/proc/{one.pid}/root/usr/bin/etcdctl").exists()


def test_the_next_run_ends_what_a_killed_one_left(runnable: Images) -> None:
    path = runnable[images.WORKER].path
    port = free_port()
    killed = f"""
import os
from pathlib import Path
from tests.cluster.images import containers, measure, pods
with containers.running(pods.worker(Path({str(path)!r}), {port})) as worker:
    worker.until_answers({port}, "/healthz")
    print(worker.pid, flush=True)
    os.kill(os.getpid(), 9)
"""
    run = subprocess.run(
        [sys.executable, "-c", killed], cwd=ROOT, stdout=subprocess.PIPE, timeout=120, check=False
    )
    orphan = Path("/proc", run.stdout.decode().strip())
    assert orphan.exists()
    with containers.running(Order(path, ["--help"])) as container:
        container.until_ended()
    assert not orphan.exists()
