"""A gateway as a process: its probes, its start, its end, and life without its store."""

import asyncio
import ctypes
import json
import os
import signal
import socket
import sys
from pathlib import Path

import aiohttp
import pytest
from tests.support.etcd import running_etcd
from tests.support.rig import Gateway, pool_of, rig

SLEEPS = "import time\ndef main(s: float):\n    time.sleep(s)\n    return 'slept'\n"
ECHO = "def main(x: int):\n    return x\n"
EXITS = "import os\n\n\ndef main():\n    os._exit(3)\n"
LONG_SECONDS = 12
"""Longer than a gateway that alone has lost its store stays ready."""


async def in_flight(gateway: Gateway, count: int) -> None:
    """Until the gateway has so many executions under way."""
    line = f'anypod_executions_in_flight{{pool="default"}} {count}.0'
    async with asyncio.timeout(30):
        while line not in (await gateway.ask("GET", "//metrics")).body.decode():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_what_runs_is_finished_before_the_gateway_ends(
    tmp_path: Path, sign: signal.Signals
) -> None:
    async with rig(tmp_path) as made:
        gateway = made.gateway
        await gateway.create(SLEEPS, "sleeps")
        running = asyncio.ensure_future(gateway.run("sleeps", s=1.0))
        await in_flight(gateway, 1)
        # A connection that is kept alive can still ask while new ones are refused.
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{gateway.url}/readyz") as answer:
                assert answer.status == 200
            ending = asyncio.ensure_future(gateway.stop(sign))
            answer_ = await running
            assert answer_.outputs == "slept"
            assert answer_.headers["Connection"] == "close"
            assert await ending == 0
        with pytest.raises(aiohttp.ClientConnectionError):
            await gateway.ask("GET", "//healthz")
        assert "stops: it was told to" in await gateway.log()


async def test_who_still_calls_a_gateway_that_goes_is_served_and_sent_elsewhere(
    tmp_path: Path,
) -> None:
    """Over new connections, and over one that was kept alive, which is not cut."""
    async with rig(tmp_path, options=("--linger-seconds", "1000")) as made:
        gateway = made.gateway
        await gateway.create(ECHO, "echo")
        gateway.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            while (await gateway.ask("GET", "//readyz")).status != 503:
                await asyncio.sleep(0.02)
        for x in range(2):
            answer = await gateway.run("echo", x=x)
            assert answer.outputs == x
            assert answer.headers["Connection"] == "close"
        assert await gateway.stop() == 0  # told again, it does not wait


async def test_what_runs_too_long_does_not_keep_the_gateway(tmp_path: Path) -> None:
    async with rig(tmp_path, options=("--drain-seconds", "0.2")) as made:
        gateway = made.gateway
        await gateway.create(SLEEPS, "sleeps")
        running = asyncio.ensure_future(gateway.run("sleeps", s=50))
        await in_flight(gateway, 1)
        assert await gateway.stop() == 0
        with pytest.raises(aiohttp.ClientConnectionError):
            await running
        assert "did not end within" in await gateway.log()


async def test_an_identical_creation_needs_no_worker(tmp_path: Path) -> None:
    async with rig(tmp_path, pool=pool_of(queue={"maxWaitSeconds": 0.2})) as made:
        await made.gateway.create(ECHO, "same")
        await made.workers["w1"].stop()
        same = {"id": "same", "source": ECHO}
        answer = await made.gateway.ask("POST", "/programs", json=same)
        assert answer.status == 200, answer.body
        other = await made.gateway.ask("POST", "/programs", json={"source": "def main(): ..."})
        assert other.document["type"] == "no-worker", other.body


async def test_requests_that_come_too_early_wait_for_the_pools(tmp_path: Path) -> None:
    async with rig(tmp_path, gateways=0) as made:
        made.pools_file.rename(tmp_path / "later.json")
        gateway = await made.add_gateway(listening=False)
        async with asyncio.timeout(30):
            while True:
                try:
                    ready = await gateway.ask("GET", "//readyz")
                    break
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.02)
        assert ready.status == 503
        assert (await gateway.ask("GET", "//healthz")).status == 200
        early = asyncio.ensure_future(gateway.create(ECHO, "early"))
        done, _ = await asyncio.wait({early}, timeout=0.2)
        assert not done
        (tmp_path / "later.json").rename(made.pools_file)
        assert await early == "early"
        assert (await gateway.run("early", x=1)).outputs == 1


async def test_a_new_pool_is_served_and_a_deleted_one_is_not(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        gateway = made.gateway
        made.pool = pool_of("other")
        await made.workers.pop("w1").stop()
        await made.tell()
        async with asyncio.timeout(30):
            while (await gateway.ask("GET", "//v1/pools/other")).status != 200:
                await asyncio.sleep(0.02)
            while (await gateway.ask("GET", "")).status != 404:
                await asyncio.sleep(0.02)
        listing = (await gateway.ask("GET", "//v1/pools")).document
        assert [pool["name"] for pool in listing["items"]] == ["other"]


async def test_without_its_store_a_gateway_runs_what_it_knows_and_refuses_the_rest(
    tmp_path: Path,
) -> None:
    """It stays ready, as nobody can know more."""
    with running_etcd(tmp_path / "etcd") as etcd:
        async with rig(tmp_path, store=etcd.url, workers=2) as made:
            gateway = made.gateway
            await gateway.create(ECHO, "known")
            for _ in range(4):
                assert (await gateway.run("known", x=1)).outputs == 1
            await asyncio.to_thread(etcd.kill)
            assert (await gateway.run("known", x=2)).outputs == 2
            write, run = "a write may or may not have happened", "nothing has run"
            keyed, as_job = {"Idempotency-Key": "k"}, {"Prefer": "respond-async"}
            accepted = "whether the job is accepted is not known"
            asked = [
                ("POST", "/programs/unknown/run", {}, {}, run),
                ("POST", "/programs/known/run", {"inputs": {"x": 3}}, keyed, run),
                ("POST", "/programs/known/run", {"inputs": {"x": 3}}, as_job, accepted),
                ("GET", "/programs", None, {}, write),
                ("GET", "/programs/known", None, {}, write),
                ("DELETE", "/programs/known", None, {}, write),
                ("POST", "/programs", {"source": ECHO}, {}, write),
            ]
            answers = await asyncio.gather(
                *(
                    gateway.ask(
                        method, path, headers=headers, **({} if body is None else {"json": body})
                    )
                    for method, path, body, headers, _ in asked
                )
            )
            for answer, (*_, became) in zip(answers, asked, strict=True):
                assert answer.document["type"] == "store-unavailable", answer.body
                assert answer.document["detail"].endswith(became)
                assert answer.status == 503
                assert int(answer.headers["Retry-After"]) >= 1
            for _ in range(LONG_SECONDS):
                assert (await gateway.ask("GET", "//readyz")).status == 200
                assert (await gateway.run("known", x=3)).outputs == 3
                await asyncio.sleep(1)
            await asyncio.to_thread(etcd.start)
            await gateway.ready()
            assert (await gateway.ask("GET", "/programs/known")).status == 200
            assert await gateway.create(ECHO, "after") == "after"


async def test_the_log_is_one_line_of_json_for_each_request(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        gateway = made.gateway
        await gateway.create(ECHO, "private")
        answer = await gateway.run("private", "", {"X-Session-ID": "hush"}, x=12345678)
        await gateway.ask("GET", "//nowhere/else")
        assert await gateway.stop() == 0
        lines = [json.loads(line) for line in (await gateway.log()).splitlines()]
    run = next(line for line in lines if line.get("path", "").endswith("/run"))
    assert run["path"] == "/v1/pools/{pool}/programs/{program_ref}/run"
    assert run["execution"] == answer.headers["X-AnyPod-Execution"]
    assert run["worker"] == answer.headers["X-AnyPod-Worker"]
    assert (run["method"], run["status"], run["pool"]) == ("POST", 200, "default")
    text = json.dumps([line for line in lines if "method" in line])
    assert not any(word in text for word in ("private", "hush", "12345678", "nowhere"))


async def test_metrics_have_labels_that_no_client_can_add(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        gateway = made.gateway
        await gateway.create(ECHO, "visible")
        await gateway.run("visible", "", {"X-Session-ID": "seen"}, x=1)
        await gateway.run("visible", x="no")
        await gateway.create(EXITS, "leaves")
        assert (await gateway.run("leaves")).document["type"] == "program-exited"
        replaced = 'anypod_executor_restarts_total{pool="default",reason="exited",worker="w1"} 1.0'
        await gateway.ask("POST", "//v1/pools/made-up/programs/p/run", json={})
        await gateway.ask("GET", "//made/up")
        # A worker tells of its executors with its next load message, not with the answer.
        async with asyncio.timeout(10):
            text = ""
            while 'anypod_sessions{pool="default"} 1.0' not in text or replaced not in text:
                answer = await gateway.ask("GET", "//metrics")
                text = answer.body.decode()
                await asyncio.sleep(0.05)
    assert answer.headers["Content-Type"].startswith("text/plain")
    for line in (
        'anypod_requests_total{outcome="ok",pool="default"}',
        'anypod_requests_total{outcome="invalid-inputs",pool="default"} 1.0',
        'anypod_requests_total{outcome="pool-not-found",pool=""} 1.0',
        'anypod_queue_depth{pool="default"} 0.0',
        'anypod_queue_wait_seconds_count{pool="default"} 1.0',
        'anypod_executions_in_flight{pool="default"} 0.0',
        'anypod_link_up{pool="default",worker="w1"} 1.0',
        'anypod_store_seconds_count{operation="commit",outcome="ok"}',
        'anypod_workers{pool="default",state="ready"} 1.0',
    ):
        assert line in text, text
    assert replaced in text
    assert "# TYPE anypod_executor_restarts_total counter" in text
    assert not any(word in text for word in ("visible", "seen", "made"))


async def test_a_foreign_host_is_refused_and_a_named_one_is_not(tmp_path: Path) -> None:
    async with rig(tmp_path, workers=0, options=("--allow-host", "box.example")) as made:
        for host, status in (("evil.example", 403), ("box.example", 200), ("localhost", 200)):
            answer = await made.gateway.ask("GET", "//healthz", headers={"Host": host})
            assert answer.status == status, host


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("--store", "redis://x"), "not a store"),
        (("--link-token-file", "/nowhere"), "no link token"),
        (("--listen", "127.0.0.1:{port}"), "no socket to listen on"),
        (("--listen", "nonsense"), "is not HOST:PORT"),
        (("--colour", "red"), "unrecognized arguments"),
    ],
)
async def test_a_gateway_that_cannot_start_says_why(
    tmp_path: Path, changes: tuple[str, str], message: str
) -> None:
    (tmp_path / "token").write_text("t")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        options = {
            "--store": f"sqlite:{tmp_path / 'store.db'}",
            "--pools-file": str(tmp_path / "pools.json"),
            "--link-token-file": str(tmp_path / "token"),
            "--listen": "127.0.0.1:0",
        }
        options[changes[0]] = changes[1].format(port=taken.getsockname()[1])
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "anypod_gateway"),
            *(part for option in options.items() for part in option),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    assert process.returncode == 2
    assert message in err.decode()
    assert "Traceback" not in err.decode()
    assert out == b""


async def test_a_gateway_dies_with_its_parent_if_told_to(tmp_path: Path) -> None:
    """The parent is a shell that is killed; the gateway then is a child of this process."""
    (tmp_path / "token").write_text("t")
    (tmp_path / "log").touch()  # else it is there only when the shell has got so far
    libc = ctypes.CDLL(None)
    assert libc.prctl(36, 1) == 0  # PR_SET_CHILD_SUBREAPER
    try:
        command = (
            f"{sys.executable} -m anypod_gateway --store sqlite:{tmp_path / 'store.db'}"
            f" --pools-file {tmp_path / 'pools.json'} --link-token-file {tmp_path / 'token'}"
            f" --listen 127.0.0.1:0 --die-with-parent $$ 2>{tmp_path / 'log'} & echo $!; wait"
        )
        shell = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE)
        assert shell.stdout is not None
        pid = int(await shell.stdout.readline())
        async with asyncio.timeout(60):
            while "listens on" not in (tmp_path / "log").read_text():
                await asyncio.sleep(0.02)
        shell.kill()
        await shell.wait()
        async with asyncio.timeout(30):
            _, status = await asyncio.to_thread(os.waitpid, pid, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
    finally:
        libc.prctl(36, 0)
