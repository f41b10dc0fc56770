"""From the first process to the last: start, readiness, drain, and the death of any one process."""

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

import aiohttp
import msgspec
import pytest
from tests.support import process_tree
from tests.support.worker import (
    PATIENCE,
    TOKEN,
    Gateway,
    Worker,
    linked,
    start_worker,
    started_worker,
    worker_config,
)

from anypod.wire import codec
from anypod.wire.messages import Draining, SessionRef

ADD = "def main(x: int): return x + 1"
PID = "import os\ndef main(): return os.getpid()"
WAIT = """
import pathlib, time
def main(end: str):
    while not pathlib.Path(end).exists():
        time.sleep(0.01)
    return "ended"
"""


async def ask(worker: Worker, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as http,
        http.get(worker.url + path, timeout=aiohttp.ClientTimeout(PATIENCE)) as answer,
    ):
        return answer.status, await answer.text()


async def until_closed(gateway: Gateway) -> None:
    async with asyncio.timeout(PATIENCE):
        await gateway._reading


# start


async def test_it_is_not_ready_before_the_preload_is_done(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import pathlib, time\n"
        f"while not pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.01)\n"
    )
    config = worker_config(preload=["slow"], env={"PYTHONPATH": str(tmp_path)})
    worker = await start_worker(config, tmp_path)
    status, text = await ask(worker, "/readyz")
    assert status == 503
    assert json.loads(text) == {"ready": False, "draining": False, "message": "preloading"}
    assert (await ask(worker, "/healthz"))[0] == 200
    async with linked(worker) as gateway:
        assert not gateway.load.ready
        early = await gateway.run(ADD, {"x": 1})
        assert early.refused is not None
        assert early.refused.reason == "not-ready"
        (tmp_path / "go").touch()
        await gateway.until(lambda: gateway.load.ready)
        assert (await ask(worker, "/readyz"))[0] == 200
        assert (await gateway.run(ADD, {"x": 1})).outputs == 2
    assert await worker.stop() == 0


async def test_programs_find_what_was_preloaded(tmp_path: Path) -> None:
    (tmp_path / "heavy.py").write_text("import os\nloaded_by = os.getpid()\n")
    config = worker_config(preload=["heavy"], env={"PYTHONPATH": str(tmp_path)})
    async with started_worker(config) as worker, linked(worker) as gateway:
        source = "import heavy, os\ndef main(): return [heavy.loaded_by, os.getpid()]"
        loaded_by, pid = (await gateway.run(source)).outputs
        assert loaded_by in process_tree.named(worker.pid, "anypod-zygote")
        assert pid != loaded_by


async def test_a_preload_that_fails_is_named_tried_again_and_given_up(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('no licence found')")
    config = worker_config(preload=["json", "broken"], env={"PYTHONPATH": str(tmp_path)})
    worker = await start_worker(config, tmp_path)
    await worker.wait_for_log("no licence found")
    async with linked(worker) as gateway:
        await gateway.until(lambda: "broken" in gateway.load.message)
        status, text = await ask(worker, "/readyz")
        assert status == 503
        assert "preload of broken failed: RuntimeError: no licence found" in text
    async with asyncio.timeout(PATIENCE):
        assert await worker.process.wait() == 1
        assert worker.reading is not None
        await worker.reading
    assert "broken" in worker.log[-1]
    assert "no licence found" in worker.log[-1]


async def test_a_preload_that_recovers_is_used(tmp_path: Path) -> None:
    (tmp_path / "flaky.py").write_text(
        f"import pathlib\nif not pathlib.Path({str(tmp_path / 'go')!r}).exists(): 1 / 0"
    )
    config = worker_config(preload=["flaky"], env={"PYTHONPATH": str(tmp_path)})
    worker = await start_worker(config, tmp_path)
    await worker.wait_for_log("ZeroDivisionError")
    (tmp_path / "go").touch()
    await worker.wait_for_log("worker ready")
    assert await worker.stop() == 0


async def test_a_preload_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text("while True: pass")
    config = worker_config(
        preload=["endless"], preload_timeout_seconds=0.3, env={"PYTHONPATH": str(tmp_path)}
    )
    worker = await start_worker(config, tmp_path)
    async with asyncio.timeout(PATIENCE):
        assert await worker.process.wait() == 1
        assert worker.reading is not None
        await worker.reading
    assert "preload of endless did not end within 0.3 s" in worker.log[-1]


@pytest.mark.parametrize(
    ("ends", "says"),
    [
        ("import sys; sys.exit('out of licences')", "preload of deadly failed: SystemExit"),
        ("import os; os._exit(3)", "preload of deadly failed: its process exited with 3"),
        ("import os; os.abort()", "preload of deadly failed: its process died of signal 6"),
        ("def x(:", "preload of deadly failed: SyntaxError"),
    ],
)
async def test_a_preload_that_ends_the_process_is_a_failed_one(
    tmp_path: Path, ends: str, says: str
) -> None:
    (tmp_path / "deadly.py").write_text(ends)
    config = worker_config(preload=["deadly"], env={"PYTHONPATH": str(tmp_path)})
    worker = await start_worker(config, tmp_path)
    await worker.wait_for_log(says)
    assert says in (await ask(worker, "/readyz"))[1]
    assert await worker.stop() == 0


async def test_the_configuration_may_come_in_the_environment(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    config = msgspec.json.encode(worker_config(preload=["no_such_module"], port=0)).decode()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "anypod_worker", "--token-file", str(tmp_path / "token")),
        env={**os.environ, "ANYPOD_WORKER_CONFIG": config},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE):
        async for line in process.stderr:
            if b"no_such_module" in line:
                break
        process.terminate()
        _, rest = await process.communicate()
    assert process.returncode == 0, rest


async def test_metrics_count_executors_and_why_they_were_replaced() -> None:
    async with started_worker() as worker, linked(worker) as gateway:
        await gateway.run("import os\ndef main(): os._exit(1)")
        await gateway.until(lambda: gateway.load.restarts.get("exited") == 1)
        await gateway.until(lambda: gateway.load.idle == 2)
        await gateway.until(lambda: gateway.load.memory_bytes > 0)
        status, text = await ask(worker, "/metrics")
    assert status == 200
    lines = text.splitlines()
    assert "anypod_worker_ready 1" in lines
    assert "anypod_worker_executors_idle 2" in lines
    assert 'anypod_worker_executors_replaced_total{reason="exited"} 1' in lines


async def test_the_log_names_executions_and_never_holds_inputs_or_outputs() -> None:
    source = "def main(x: str):\n    print('a line')\n    return x + ' returned'"
    async with started_worker() as worker, linked(worker) as gateway:
        id_ = await gateway.begin(source, {"x": "an-input"})
        assert (await gateway.end(id_)).outputs == "an-input returned"
        line = json.loads(await worker.wait_for_log("a line"))
    assert (line["execution"], line["stream"], line["message"]) == (id_, "stdout", "a line")
    assert not any("an-input" in line or TOKEN in line for line in worker.log)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (b"not json", "not a JSON object"),
        (b"[1]", "not a JSON object"),
        (b'{"worker": "w"}', "not valid"),
        (b'{"worker": "w", "pool": "p", "executors": "many"}', "not valid"),
    ],
)
async def test_a_bad_configuration_is_said_and_nothing_starts(
    tmp_path: Path, config: bytes, says: str
) -> None:
    (tmp_path / "config").write_bytes(config)
    (tmp_path / "token").write_text(TOKEN)
    status, errors = await run_to_end(tmp_path)
    assert status == 1
    assert says in errors


@pytest.mark.parametrize("token", [None, "", " \n"])
async def test_without_a_secret_nothing_starts(tmp_path: Path, token: str | None) -> None:
    (tmp_path / "config").write_bytes(b'{"worker": "w", "pool": "p", "port": 0}')
    if token is not None:
        (tmp_path / "token").write_text(token)
    status, errors = await run_to_end(tmp_path)
    assert status == 1
    assert "secret" in errors


async def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "config").write_text(f'{{"worker": "w", "pool": "p", "port": {port}}}')
        (tmp_path / "token").write_text(TOKEN)
        status, errors = await run_to_end(tmp_path)
    assert status == 1
    assert str(port) in errors
    assert "in use" in errors


async def run_to_end(directory: Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "anypod_worker"),
        *("--config-file", str(directory / "config"), "--token-file", str(directory / "token")),
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE):
        _, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, errors.decode()


# what programs can know of the host


async def test_a_program_sees_the_pools_environment_and_no_secret() -> None:
    host = {**os.environ, "HOST_SECRET": "host-secret", "PYTHONHASHSEED": "7"}
    config = worker_config(env={"MODEL": "small"})
    source = """
import os
def main():
    raw = open("/proc/self/environ", "rb").read().decode(errors="replace")
    return [dict(os.environ), raw, open("/proc/self/cmdline", "rb").read().decode()]
"""
    async with (
        started_worker(config, environment=host) as worker,
        linked(worker) as gateway,
    ):
        seen, raw, command = (await gateway.run(source)).outputs
        assert set(seen) == {"PATH", "HOME", "LANG", "TMPDIR", "MODEL"}
        assert seen["MODEL"] == "small"
        everything = raw + command
        assert "HOST_SECRET" not in everything
        assert "PYTHONHASHSEED" not in everything
        assert TOKEN not in everything


async def test_no_memory_of_an_executor_holds_the_secret() -> None:
    """The secret comes in pieces, and is put together nowhere but in the supervisor."""
    source = """
def main(pieces: list[str]) -> bool:
    first, rest = pieces[0].encode(), [piece.encode() for piece in pieces[1:]]
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        for line in open("/proc/self/maps"):
            place, access = line.split()[:2]
            if not access.startswith("rw"):
                continue
            start, end = (int(side, 16) for side in place.split("-"))
            memory.seek(start)
            data = memory.read(end - start) or b""
            at = data.find(first)
            while at >= 0:
                after = at + len(first)
                for piece in rest:
                    if not data.startswith(piece, after):
                        break
                    after += len(piece)
                else:
                    return True
                at = data.find(first, at + 1)
    return False
"""
    pieces = [TOKEN[at : at + 4] for at in range(0, len(TOKEN), 4)]
    async with started_worker() as worker, linked(worker) as gateway:
        assert (await gateway.run(source, {"pieces": pieces})).outputs is False
        planted = source.replace("first, rest =", "planted = ''.join(pieces); first, rest =")
        assert (await gateway.run(planted, {"pieces": pieces})).outputs is True


# the end


async def test_a_drain_finishes_what_runs_and_refuses_the_rest(tmp_path: Path) -> None:
    async with started_worker() as worker, linked(worker) as gateway, linked(worker, "g2") as other:
        running = await gateway.begin(WAIT, {"end": str(tmp_path / "end")})
        session = SessionRef("s", 1)
        calls = [
            await gateway.begin(WAIT, {"end": str(tmp_path / "end")}, session=session)
            for _ in range(2)
        ]
        await gateway.until(lambda: gateway.load.busy_sessions == 1 and gateway.load.busy == 1)
        worker.process.send_signal(signal.SIGTERM)
        for each in (gateway, other):
            await each.until(lambda each=each: any(isinstance(m, Draining) for m in each.received))
            await each.until(lambda each=each: each.load.draining)
        refused = (await other.run(ADD, {"x": 1})).refused
        assert refused is not None
        assert refused.reason == "draining"
        assert (await ask(worker, "/readyz"))[0] == 503
        assert (await ask(worker, "/healthz"))[0] == 200
        (tmp_path / "end").touch()
        for id_ in (running, *calls):
            assert (await gateway.end(id_)).outputs == "ended"
        await until_closed(gateway)
        assert gateway.close_code == codec.CLOSE_DRAINED
        async with asyncio.timeout(PATIENCE):
            assert await worker.process.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_worker_stops_at_once_with_status_0(number: signal.Signals) -> None:
    async with started_worker(worker_config(drain_seconds=1000)) as worker, linked(worker):
        pids = [process.pid for process in process_tree.below(worker.pid)]
        assert await worker.stop(number) == 0
        assert await process_tree.until_gone(pids) == []


async def test_a_drain_ends_in_time_whatever_runs() -> None:
    async with (
        started_worker(worker_config(drain_seconds=0.3)) as worker,
        linked(worker) as gateway,
    ):
        running = await gateway.begin("def main():\n    while True: pass")
        call = await gateway.begin(
            "def main(session):\n    while True: pass", session=SessionRef("s", 1)
        )
        await gateway.until(lambda: gateway.load.busy == 1 and gateway.load.busy_sessions == 1)
        worker.process.send_signal(signal.SIGTERM)
        for id_ in (running, call):
            assert (await gateway.end(id_)).failure.type == "worker-lost"
        async with asyncio.timeout(PATIENCE):
            assert await worker.process.wait() == 0


async def test_a_second_signal_ends_the_drain() -> None:
    async with (
        started_worker(worker_config(drain_seconds=1000)) as worker,
        linked(worker) as gateway,
    ):
        await gateway.begin("import time\ndef main(): time.sleep(1000)")
        await gateway.until(lambda: gateway.load.busy == 1)
        worker.process.send_signal(signal.SIGTERM)
        await gateway.until(lambda: gateway.load.draining)
        assert await worker.stop(signal.SIGTERM) == 0


async def test_a_gateway_that_links_to_a_draining_worker_is_told(tmp_path: Path) -> None:
    async with started_worker() as worker, linked(worker) as gateway:
        await gateway.begin(WAIT, {"end": str(tmp_path / "end")})
        await gateway.until(lambda: gateway.load.busy == 1)
        worker.process.send_signal(signal.SIGTERM)
        await gateway.until(lambda: gateway.load.draining)
        async with linked(worker, "late") as late:
            assert late.load.draining
        (tmp_path / "end").touch()


# deaths


async def test_a_zygote_that_dies_is_started_again_while_executors_go_on(tmp_path: Path) -> None:
    async with started_worker() as worker, linked(worker) as gateway:
        running = await gateway.begin(WAIT, {"end": str(tmp_path / "end")})
        await gateway.until(lambda: gateway.load.busy == 1)
        (zygote,) = process_tree.named(worker.pid, "anypod-zygote")
        os.kill(zygote, signal.SIGKILL)
        await worker.wait_for_log("the zygote died")
        assert (await gateway.run(ADD, {"x": 1})).outputs == 2
        assert await worker.is_ready()
        (tmp_path / "end").touch()
        assert (await gateway.end(running)).outputs == "ended"
        for _ in range(4):
            died = await gateway.run("import os\ndef main(): os._exit(1)")
            while died.refused is not None:
                await gateway.until(lambda: gateway.load.idle > 0)
                died = await gateway.run("import os\ndef main(): os._exit(1)")
            assert died.failure.type == "program-exited"
        wanted = ["anypod-zygote"] + ["anypod-executor"] * 3
        assert await process_tree.until_names_are(worker.pid, wanted, PATIENCE) == sorted(wanted)
        assert process_tree.named(worker.pid, "anypod-zygote") != [zygote]


async def test_a_zygote_that_was_started_again_knows_no_secret() -> None:
    async with started_worker(worker_config(executors=1)) as worker, linked(worker) as gateway:
        (zygote,) = process_tree.named(worker.pid, "anypod-zygote")
        os.kill(zygote, signal.SIGKILL)
        await worker.wait_for_log("the zygote died")
        for _ in range(2):
            while (await gateway.run("import os\ndef main(): os._exit(1)")).refused:
                await gateway.until(lambda: gateway.load.idle > 0)
        source = "def main(): return open('/proc/self/environ').read()"
        answer = await gateway.run(source)
        while answer.refused is not None:
            await gateway.until(lambda: gateway.load.idle > 0)
            answer = await gateway.run(source)
        assert {pair.split("=")[0] for pair in answer.outputs.split("\0") if pair} <= {
            "PATH",
            "HOME",
            "LANG",
            "TMPDIR",
        }


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_when_the_supervisor_is_killed_its_processes_go(number: signal.Signals) -> None:
    async with started_worker() as worker, linked(worker) as gateway:
        await gateway.run(PID, session=SessionRef("s", 1))
        await gateway.begin("def main():\n    while True: pass")
        pids = [process.pid for process in process_tree.below(worker.pid)]
        assert len(pids) >= 4
        worker.process.send_signal(number)
        assert await process_tree.until_gone(pids) == []


async def test_what_a_killed_worker_left_on_disk_the_next_one_removes() -> None:
    source = "import os\ndef main(): return os.getcwd()"
    async with started_worker() as worker, linked(worker) as gateway:
        root = Path((await gateway.run(source)).outputs).parents[1]
        worker.process.send_signal(signal.SIGKILL)
        await worker.process.wait()
    assert root.exists()
    async with started_worker() as worker, linked(worker) as gateway:
        own = Path((await gateway.run(source)).outputs).parents[1]
        while root.exists():
            await asyncio.sleep(0.02)
        assert own.exists(), "a living worker's directory stays"


async def test_nothing_is_left_on_disk_after_a_stop() -> None:
    before = set(Path(tempfile.gettempdir()).glob("anypod-worker-*"))
    source = "import os\ndef main():\n    open('x', 'w').write('x')\n    return os.getcwd()"
    async with started_worker() as worker, linked(worker) as gateway:
        root = Path((await gateway.run(source)).outputs).parents[1]
        assert root not in before
    assert not root.exists()
