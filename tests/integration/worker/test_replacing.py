"""Executors are replaced when they are worn or dirty, and never under an execution."""

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from tests.support import process_tree
from tests.support.worker import linked, started_worker, worker_config

from anypod.wire.config import Limits, Recycle
from anypod.wire.messages import SessionRef

PID = "import os\ndef main(): return os.getpid()"
MIB = 1024 * 1024


async def test_isolation_shared_runs_many_programs_in_one_executor() -> None:
    async with started_worker(worker_config(executors=1)) as worker, linked(worker) as gateway:
        pids = [(await gateway.run(f"{PID} + 0 * {n}")).outputs for n in range(5)]
    assert len(set(pids)) == 1


async def test_isolation_program_never_runs_two_programs_in_one_executor() -> None:
    config = worker_config(executors=2, isolation="program")
    async with started_worker(config) as worker, linked(worker) as gateway:
        seen: dict[int, int] = {}
        for number in [0, 0, 1, 1, 2, 0, 2, 3, 3, 1]:
            answer = await gateway.run(f"{PID} + 0 * {number}")
            assert answer.refused is None
            assert seen.setdefault(answer.outputs, number) == number


async def test_isolation_program_goes_on_in_the_executor_that_has_it() -> None:
    config = worker_config(executors=2, isolation="program")
    async with started_worker(config) as worker, linked(worker) as gateway:
        pids = {(await gateway.run(PID)).outputs for _ in range(6)}
        assert len(pids) == 1


async def test_isolation_fresh_runs_each_execution_in_a_new_executor() -> None:
    config = worker_config(executors=2, isolation="fresh")
    async with started_worker(config) as worker, linked(worker) as gateway:
        pids = [(await gateway.run(PID)).outputs for _ in range(12)]
        assert len(set(pids)) == 12
        assert await process_tree.until_gone(pids) == []


async def test_an_executor_is_recycled_after_so_many_executions() -> None:
    config = worker_config(executors=1, recycle=Recycle(max_executions=3))
    async with started_worker(config) as worker, linked(worker) as gateway:
        runs: Counter[int] = Counter()
        while len(runs) < 4:
            answer = await gateway.run(PID)
            assert answer.refused is None
            runs[answer.outputs] += 1
        assert min(list(runs.values())[:3]) >= 3
        await gateway.until(lambda: gateway.load.restarts.get("max-executions", 0) >= 3)


async def test_an_executor_is_recycled_when_it_is_old() -> None:
    config = worker_config(executors=1, recycle=Recycle(max_age_seconds=0.5))
    async with started_worker(config) as worker, linked(worker) as gateway:
        await gateway.until(lambda: gateway.load.restarts.get("max-age", 0) >= 1)
        assert (await gateway.run(PID)).refused is None


async def test_an_executor_is_recycled_when_its_memory_has_grown() -> None:
    config = worker_config(executors=1, recycle=Recycle(memory_growth_bytes=64 * MIB))
    hoard = "kept = []\ndef main(n: int):\n    kept.append(bytearray(n))"
    async with started_worker(config) as worker, linked(worker) as gateway:
        await gateway.run(hoard, {"n": 96 * MIB})
        await gateway.until(lambda: gateway.load.restarts.get("memory-growth", 0) >= 1)
        assert (await gateway.run(PID)).refused is None


async def test_recycling_never_ends_an_execution(tmp_path: Path) -> None:
    config = worker_config(executors=2, recycle=Recycle(max_age_seconds=0.2, max_executions=1))
    source = """
import pathlib, time
def main(end: str):
    while not pathlib.Path(end).exists():
        time.sleep(0.01)
    return "whole"
"""
    async with started_worker(config) as worker, linked(worker) as gateway:
        running = await gateway.begin(source, {"end": str(tmp_path / "end")})
        await gateway.until(lambda: gateway.load.restarts.get("max-age", 0) >= 2)
        (tmp_path / "end").touch()
        assert (await gateway.end(running)).outputs == "whole"


async def test_a_thread_left_behind_costs_a_shared_executor() -> None:
    leave = """
import threading, time
def main(): threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
"""
    async with started_worker(worker_config(executors=1)) as worker, linked(worker) as gateway:
        pid = (await gateway.run(PID)).outputs
        await gateway.run(leave)
        assert (await gateway.run(PID)).outputs != pid
        await gateway.until(lambda: gateway.load.restarts.get("threads") == 1)


async def test_files_left_open_cost_the_executor_before_the_next_program_lacks_them() -> None:
    config = worker_config(executors=1, limits=Limits(open_files=128))
    leave = "kept = []\ndef main(n: int): kept.extend(open('/dev/null') for _ in range(n))"
    async with started_worker(config) as worker, linked(worker) as gateway:
        await gateway.run(leave, {"n": 100})
        assert (await gateway.run(leave, {"n": 100})).outputs is None
        await gateway.until(lambda: gateway.load.restarts.get("open-files", 0) >= 1)


SPOIL = """
import os, resource
def main():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))  # nobody may raise it again
    return os.getpid()
"""


async def test_what_comes_after_an_execution_that_cannot_be_undone_runs_elsewhere() -> None:
    """It was answered before that showed; what was sent meanwhile has not begun."""
    check = "import os, resource\ndef main():\n"
    check += "    return os.getpid(), resource.getrlimit(resource.RLIMIT_FSIZE)[0]"
    async with started_worker(worker_config(executors=1)) as worker, linked(worker) as gateway:
        await gateway.run(SPOIL)
        await gateway.run(check)
        rounds = ran = 0
        while rounds < 10 or not ran:  # on a busy machine all that wait may be refused
            await worker.until_idle(1)
            rounds += 1
            spoils = await gateway.begin(SPOIL)
            follows = [await gateway.begin(check) for _ in range(3)]
            spoiled = (await gateway.end(spoils)).outputs
            for each in follows:
                answer = await gateway.end(each)
                if answer.refused is None:
                    pid, limit = answer.outputs
                    assert (pid != spoiled, limit) == (True, -1)
                    ran += 1
        await gateway.until(lambda: gateway.load.restarts.get("unclean", 0) >= rounds + 1)
        assert set(gateway.load.restarts) == {"unclean"}


async def test_a_check_after_an_execution_that_cannot_be_undone_is_made_elsewhere() -> None:
    """It waits as long as it must."""
    look = "import resource\nassert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == -1\n"
    look += "def main(): pass"
    async with started_worker(worker_config(executors=1)) as worker, linked(worker) as gateway:
        for _ in range(5):
            spoils = await gateway.begin(SPOIL)
            checked = await gateway.check(look)
            assert checked.failure is None
            assert (await gateway.end(spoils)).outputs


async def test_an_executor_forges_no_reason_for_its_end() -> None:
    """Reasons are labels of a metric: a program must not be able to make them up."""
    forge = """
import os, socket, msgspec
def main():
    body = msgspec.msgpack.encode([16, "made up"])
    for fd in os.listdir("/proc/self/fd"):
        try:
            found = socket.socket(fileno=os.dup(int(fd)))
        except OSError:
            continue
        if found.family == socket.AF_UNIX:
            found.sendall(len(body).to_bytes(4, "big") + body)
    import time; time.sleep(60)
"""
    async with started_worker(worker_config(executors=1)) as worker, linked(worker) as gateway:
        assert (await gateway.run(forge)).failure is not None
        assert (await gateway.run(PID)).refused is None
        await gateway.until(lambda: gateway.load.restarts.get("protocol") == 1)


async def test_a_frozen_idle_executor_is_noticed_and_replaced() -> None:
    async with started_worker(worker_config(executors=1)) as worker, linked(worker) as gateway:
        pid = (await gateway.run(PID)).outputs
        os.kill(pid, signal.SIGSTOP)
        await gateway.until(lambda: gateway.load.restarts.get("wedged") == 1)
        assert (await gateway.run(PID)).outputs != pid
        assert await worker.is_ready()


async def test_a_dead_executors_slot_serves_at_once_from_the_reserve() -> None:
    async with started_worker(worker_config(executors=1)) as worker, linked(worker) as gateway:
        for _ in range(10):
            died = await gateway.run("import os\ndef main(): os._exit(1)")
            assert died.failure.type == "program-exited"
            alive = await gateway.run(PID)
            assert alive.refused is None, "the gateway need not wait or try elsewhere"


@pytest.mark.parametrize("executors", [1, 3])
async def test_every_executor_has_a_temporary_directory_that_goes_with_it(executors: int) -> None:
    source = """
import os, tempfile
def main():
    with open("relative", "w") as file: file.write("x")
    os.makedirs("deep/er")
    os.chmod("deep", 0)
    return [tempfile.mkdtemp(), os.getcwd(), os.environ["TMPDIR"]]
"""
    config = worker_config(executors=executors, isolation="fresh")
    async with started_worker(config) as worker, linked(worker) as gateway:
        places = [(await gateway.run(source)).outputs for _ in range(3)]
        for made, cwd, temporary in places:
            assert cwd == temporary
            assert made.startswith(temporary)
        assert len({cwd for _, cwd, _ in places}) == 3
        pids = process_tree.named(worker.pid, "anypod-executor")
        root = Path(places[0][1]).parents[1]
        assert root.is_dir()
    assert await process_tree.until_gone(pids) == []
    assert not root.exists()


async def test_what_a_dying_executor_had_not_read_runs_in_another() -> None:
    """Frozen, it cannot read; killed then, it has provably run nothing."""
    async with started_worker(worker_config(executors=1)) as worker, linked(worker) as gateway:
        pid = (await gateway.run(PID)).outputs
        os.kill(pid, signal.SIGSTOP)
        execution = await gateway.begin(PID)
        check = asyncio.create_task(gateway.check(PID))
        await gateway.until(lambda: gateway.load.busy == 1)
        os.kill(pid, signal.SIGKILL)
        assert (await gateway.end(execution)).outputs != pid
        assert (await check).failure is None


async def test_what_comes_while_its_executor_dies_runs_in_another() -> None:
    """The supervisor learns of both at once."""
    async with started_worker(worker_config(executors=1)) as worker, linked(worker) as gateway:
        ran = 0
        while ran < 10:
            await worker.until_idle(1)
            pid = (await gateway.run(PID)).outputs
            await worker.until_idle(1)
            os.kill(worker.pid, signal.SIGSTOP)
            os.kill(pid, signal.SIGKILL)
            execution = await gateway.begin(PID)
            os.kill(worker.pid, signal.SIGCONT)
            answer = await gateway.end(execution)
            if answer.refused is None:
                assert answer.outputs != pid
                ran += 1


async def test_what_an_executor_has_read_is_not_run_again(tmp_path: Path) -> None:
    source = """
import os, pathlib, time
def main(file: str):
    with open(file, "a") as lines: lines.write(f"{os.getpid()}\\n")
    time.sleep(600)
"""
    file = tmp_path / "runs"
    async with started_worker(worker_config(executors=1)) as worker, linked(worker) as gateway:
        execution = await gateway.begin(source, {"file": str(file)})
        while not file.exists() or not file.read_text():
            await asyncio.sleep(0.01)
        os.kill(int(file.read_text()), signal.SIGKILL)
        assert (await gateway.end(execution)).failure.type == "program-crashed"
    assert len(file.read_text().splitlines()) == 1


async def test_a_sessions_call_that_was_not_read_runs_in_another() -> None:
    session = SessionRef("s", 1)
    async with started_worker(worker_config(executors=1)) as worker, linked(worker) as gateway:
        pid = (await gateway.run(PID, session=session)).outputs
        os.kill(pid, signal.SIGSTOP)
        call = await gateway.begin(PID, session=session)
        await gateway.until(lambda: gateway.load.busy_sessions == 1)
        os.kill(pid, signal.SIGKILL)
        assert (await gateway.end(call)).outputs != pid
