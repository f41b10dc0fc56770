"""Executions of an async program share an executor, and one that misbehaves harms no other that it
can be told from.

Each program here is a body that is given with the inputs, so that what runs beside each other is
one revision.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.worker import Answer, Gateway, Worker, linked, started_worker, worker_config

from anypod.wire.config import Limits
from anypod.wire.messages import WINDOW, Credit

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024
EXECUTORS = 2

ANY = """
import textwrap

async def main(body: str, **inputs):
    space = {"inputs": inputs}
    exec("async def work():\\n" + textwrap.indent(body, "    "), space)
    return await space["work"]()
"""

WAIT = """
import asyncio, pathlib
pathlib.Path(inputs["began"]).touch()
while not pathlib.Path(inputs["end"]).exists():
    await asyncio.sleep(0.01)
return "unharmed"
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker() -> AsyncIterator[Worker]:
    config = worker_config(
        executors=EXECUTORS,
        limits=Limits(memory_bytes=512 * MIB, interrupt_grace_seconds=1.0),
    )
    async with started_worker(config) as worker:
        yield worker


@pytest_asyncio.fixture(loop_scope="module")
async def gateway(worker: Worker) -> AsyncIterator[Gateway]:
    async with linked(worker) as gateway:
        yield gateway
        await worker.until_idle(EXECUTORS)
        alone = await gateway.run("def main(): return 'as ever'")
        assert alone.outputs == "as ever"


class Neighbour:
    """An execution that is in the group's executor, and ends when it is told to."""

    def __init__(self, gateway: Gateway, folder: Path, name: str, group: str) -> None:
        self.gateway = gateway
        self.began, self.end = folder / f"{name}-began", folder / f"{name}-end"
        self.group = group
        self.id = ""

    async def enter(self, timeout: float = 30.0) -> "Neighbour":
        inputs = {"body": WAIT, "began": str(self.began), "end": str(self.end)}
        self.id = await self.gateway.begin(ANY, inputs, group=self.group, timeout=timeout)
        await exists(self.began, unless=lambda: self.gateway.so_far(self.id).result)
        return self

    async def leave(self) -> Answer:
        self.end.touch()
        return await self.gateway.end(self.id)


async def exists(file: Path, unless: Callable[[], Any] = lambda: None) -> None:
    """``unless``: a busy machine may have come to its deadline first."""
    async with asyncio.timeout(30):
        while not file.exists() and not unless():
            await asyncio.sleep(0.005)


async def do(gateway: Gateway, body: str, group: str = "g", **how: Any) -> Answer:
    timeout = how.pop("timeout", 30.0)
    logs, stream = how.pop("logs", False), how.pop("stream", False)
    inputs = {"body": body, **how}
    return await gateway.run(ANY, inputs, group=group, timeout=timeout, logs=logs, stream=stream)


@pytest.mark.parametrize(
    ("body", "type_", "member"),
    [
        ("raise ValueError('no')", "program-error", ("exception", "ValueError")),
        ("import sys; sys.exit(3)", "program-exited", ("exit_code", 3)),
        ("import asyncio; raise asyncio.CancelledError", "program-error", ("signal", None)),
        (
            "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise OSError",
            "program-error",
            ("exception", "OSError"),
        ),
        ("raise KeyboardInterrupt", "program-error", ("exception", "KeyboardInterrupt")),
        ("return bytearray(10 * 2**30)", "out-of-memory", ("exception", "MemoryError")),
        ("return object()", "output-not-serializable", ("path", "outputs")),
        ("return 'x' * 10_000_000", "output-too-large", ("limit", 8 * MIB)),
        (
            "import asyncio, sys\nawait asyncio.create_task(asyncio.to_thread(sys.exit, 4))",
            "program-exited",
            ("exit_code", 4),
        ),
        (
            "import asyncio, sys\nasync def f(): sys.exit(5)\nawait asyncio.create_task(f())",
            "program-exited",
            ("exit_code", 5),
        ),
    ],
)
async def test_a_failure_is_its_own(
    gateway: Gateway, tmp_path: Path, body: str, type_: str, member: tuple[str, Any]
) -> None:
    neighbour = await Neighbour(gateway, tmp_path, "a", "g").enter()
    failure = (await do(gateway, body)).failure
    assert failure.type == type_
    assert getattr(failure, member[0]) == member[1]
    assert (await neighbour.leave()).outputs == "unharmed"


@pytest.mark.parametrize(
    ("body", "type_", "member"),
    [
        ("import os; os._exit(4)", "program-exited", ("exit_code", 4)),
        ("import os; os.abort()", "program-crashed", ("signal", "SIGABRT")),
        (
            "import ctypes, asyncio\nawait asyncio.sleep(0.01)\nctypes.string_at(1)",
            "program-crashed",
            ("signal", "SIGSEGV"),
        ),
    ],
)
async def test_who_ends_the_process_is_told_so_and_the_others_that_it_was_another(
    gateway: Gateway, tmp_path: Path, body: str, type_: str, member: tuple[str, Any]
) -> None:
    neighbours = [await Neighbour(gateway, tmp_path, name, "g").enter() for name in "abc"]
    failure = (await do(gateway, body)).failure
    assert (failure.type, getattr(failure, member[0])) == (type_, member[1])
    for neighbour in neighbours:
        lost = (await gateway.end(neighbour.id)).failure
        assert lost.type == "worker-lost"
        assert "another execution" in lost.detail


async def test_who_dies_alone_is_told_how(gateway: Gateway) -> None:
    failure = (await do(gateway, "import os; os._exit(4)")).failure
    assert (failure.type, failure.exit_code) == ("program-exited", 4)


async def test_a_cancel_reaches_the_coroutine_and_no_other(
    gateway: Gateway, tmp_path: Path
) -> None:
    neighbour = await Neighbour(gateway, tmp_path, "a", "g").enter()
    body = """
import asyncio, pathlib
pathlib.Path(inputs["began"]).touch()
try:
    await asyncio.Event().wait()
except asyncio.CancelledError:
    pathlib.Path(inputs["cancelled"]).touch()
    raise
"""
    began, cancelled = tmp_path / "began", tmp_path / "cancelled"
    inputs = {"body": body, "began": str(began), "cancelled": str(cancelled)}
    id_ = await gateway.begin(ANY, inputs, group="g")
    await exists(began)
    await gateway.cancel(id_)
    assert (await gateway.end(id_)).failure.detail == "the execution was cancelled"
    assert cancelled.exists()
    assert (await neighbour.leave()).outputs == "unharmed"


async def test_each_has_its_own_deadline(gateway: Gateway, tmp_path: Path) -> None:
    late = await Neighbour(gateway, tmp_path, "late", "g").enter(timeout=0.3)
    other = await Neighbour(gateway, tmp_path, "other", "g").enter()
    assert (await gateway.end(late.id)).failure.type == "deadline-exceeded"
    assert (await other.leave()).outputs == "unharmed"


@pytest.mark.parametrize(
    "blocking",
    [
        "import time; time.sleep(60)",
        "while True: pass",
        "import time\ntry: time.sleep(60)\nfinally: time.sleep(0.01)",
    ],
)
async def test_a_step_that_blocks_is_interrupted_when_another_must_be_stopped(
    gateway: Gateway, tmp_path: Path, blocking: str
) -> None:
    other = await Neighbour(gateway, tmp_path, "other", "g").enter()
    late = await Neighbour(gateway, tmp_path, "late", "g").enter(timeout=1.0)
    blocker = await do(gateway, blocking)
    assert (await gateway.end(late.id)).failure.type == "deadline-exceeded"
    assert blocker.failure.type == "program-error"
    assert "kept the event loop" in blocker.failure.detail
    assert (await other.leave()).outputs == "unharmed"


async def test_a_step_may_keep_others_waiting_for_some_seconds_only(
    gateway: Gateway, tmp_path: Path
) -> None:
    other = await Neighbour(gateway, tmp_path, "other", "g").enter()
    assert "kept the event loop" in (await do(gateway, "while True: pass")).failure.detail
    assert (await other.leave()).outputs == "unharmed"


async def test_who_blocks_ends_at_its_own_deadline_too(gateway: Gateway, tmp_path: Path) -> None:
    other = await Neighbour(gateway, tmp_path, "other", "g").enter()
    blocker = await do(gateway, "while True: pass", timeout=0.5)
    assert blocker.failure.type == "deadline-exceeded"
    assert (await other.leave()).outputs == "unharmed"


async def test_what_cannot_be_interrupted_costs_the_executor_and_what_has_not_begun_runs_elsewhere(
    gateway: Gateway, tmp_path: Path
) -> None:
    other = await Neighbour(gateway, tmp_path, "other", "g").enter()
    late = await Neighbour(gateway, tmp_path, "late", "g").enter(timeout=2.0)
    body = "import pathlib\npathlib.Path(inputs['began']).touch()\nsum(range(10**12))"
    began = tmp_path / "began"
    blocker = await gateway.begin(ANY, {"body": body, "began": str(began)}, group="g")
    await exists(began)
    newcomer = await gateway.begin(ANY, {"body": "return 'elsewhere'"}, group="g")
    assert (await gateway.end(late.id)).failure.type == "deadline-exceeded"
    assert "kept the event loop" in (await gateway.end(blocker)).failure.detail
    assert (await gateway.end(other.id)).failure.type == "worker-lost"
    assert (await gateway.end(newcomer)).outputs == "elsewhere"


async def test_who_ignores_a_cancel_is_left_alone_until_the_others_have_ended(
    gateway: Gateway, worker: Worker, tmp_path: Path
) -> None:
    other = await Neighbour(gateway, tmp_path, "other", "g").enter()
    body = """
import asyncio, pathlib
pathlib.Path(inputs["began"]).touch()
while True:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        pass
"""
    began = tmp_path / "began"
    stubborn = await gateway.begin(ANY, {"body": body, "began": str(began)}, group="g")
    await exists(began)
    await gateway.cancel(stubborn)
    assert (await gateway.end(stubborn)).failure.detail == "the execution was cancelled"
    newcomer = await do(gateway, "import os; return os.getpid()")
    assert (await do(gateway, "import os; return os.getpid()")).outputs == newcomer.outputs
    assert (await other.leave()).outputs == "unharmed"
    await gateway.until(lambda: gateway.load.restarts.get("stubborn") == 1)


async def test_what_has_not_begun_at_its_deadline_never_runs(
    gateway: Gateway, tmp_path: Path
) -> None:
    began, ran, end = tmp_path / "began", tmp_path / "ran", tmp_path / "end"
    blocking = """
import pathlib, time
pathlib.Path(inputs["began"]).touch()
while not pathlib.Path(inputs["end"]).exists(): time.sleep(0.01)
return "waited"
"""
    inputs = {"body": blocking, "began": str(began), "end": str(end)}
    blocker = await gateway.begin(ANY, inputs, group="g")
    await exists(began)
    touch = "import pathlib\npathlib.Path(inputs['ran']).touch()"
    late = await do(gateway, touch, ran=str(ran), timeout=0.2)
    assert late.failure.type == "deadline-exceeded"
    end.touch()
    assert (await gateway.end(blocker)).outputs == "waited"
    assert (await do(gateway, "return 1")).outputs == 1
    assert not ran.exists()


async def test_context_variables_and_the_decimal_context_are_each_ones_own(
    gateway: Gateway, tmp_path: Path
) -> None:
    body = """
import asyncio, decimal
decimal.getcontext().prec = inputs["precision"]
await asyncio.sleep(0.05)
async def part(): return str(decimal.Decimal(1) / 3)
return await asyncio.create_task(part())
"""
    answers = await asyncio.gather(*(do(gateway, body, precision=n) for n in range(1, 9)))
    assert [answer.outputs for answer in answers] == [f"0.{'3' * n}" for n in range(1, 9)]


async def test_what_they_changed_in_the_process_is_undone_when_none_runs(
    gateway: Gateway, worker: Worker
) -> None:
    body = """
import asyncio, os, signal, sys
os.environ["LEFT"] = "1"
os.chdir("/")
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
sys.stdout = None
await asyncio.sleep(0.05)
return os.getpid()
"""
    answers = await asyncio.gather(*(do(gateway, body) for _ in range(4)))
    (pid,) = {answer.outputs for answer in answers}
    await worker.until_idle(EXECUTORS)
    look = """
import os, signal, time
def main():
    time.sleep(0.2)
    kept = signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    print("still printing")
    return [os.getpid(), "LEFT" in os.environ, os.getcwd() == "/", kept]
"""
    looks = await asyncio.gather(*(gateway.run(look, logs=True) for _ in range(EXECUTORS)))
    assert pid in {look.outputs[0] for look in looks}
    assert {tuple(look.outputs[1:]) for look in looks} == {(False, False, True)}
    for look_ in looks:
        assert look_.result is not None
        assert look_.result.printed is not None
        assert look_.result.printed.stdout == "still printing\n"


async def test_tasks_that_an_execution_leaves_end_with_it(gateway: Gateway, tmp_path: Path) -> None:
    neighbour = await Neighbour(gateway, tmp_path, "a", "g").enter()
    body = """
import asyncio, pathlib
async def left():
    try:
        await asyncio.Event().wait()
    finally:
        pathlib.Path(inputs["ended"]).touch()
inputs["kept"] = asyncio.create_task(left())
await asyncio.sleep(0)
return "left"
"""
    ended = tmp_path / "ended"
    assert (await do(gateway, body, ended=str(ended))).outputs == "left"
    assert ended.exists()
    assert (await neighbour.leave()).outputs == "unharmed"


@pytest.mark.parametrize(
    "left",
    [
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()",
        "import asyncio, time\nasyncio.ensure_future(asyncio.to_thread(time.sleep, 600))",
    ],
)
async def test_a_thread_that_is_left_has_the_executor_replaced_when_none_runs(
    gateway: Gateway, tmp_path: Path, left: str
) -> None:
    before = gateway.load.restarts.get("threads", 0)
    neighbour = await Neighbour(gateway, tmp_path, "a", "g").enter()
    left = f"{left}\nimport asyncio\nawait asyncio.sleep(0.05)\nreturn 'left'"
    assert (await do(gateway, left)).outputs == "left"
    assert (await neighbour.leave()).outputs == "unharmed"
    await gateway.until(lambda: gateway.load.restarts.get("threads", 0) == before + 1)


async def test_child_processes_are_awaited_as_ever(gateway: Gateway) -> None:
    body = """
import asyncio
child = await asyncio.create_subprocess_exec(
    "echo", str(inputs["n"]), stdout=asyncio.subprocess.PIPE)
told, _ = await child.communicate()
return [child.returncode, told.decode()]
"""
    answers = await asyncio.gather(*(do(gateway, body, n=n) for n in range(8)))
    assert [answer.outputs for answer in answers] == [[0, f"{n}\n"] for n in range(8)]


async def test_children_are_killed_when_none_runs(gateway: Gateway) -> None:
    body = "import subprocess\nreturn subprocess.Popen(['sleep', '600']).pid"
    pid = (await do(gateway, body)).outputs
    async with asyncio.timeout(30):
        while Path(f"/proc/{pid}").exists():
            await asyncio.sleep(0.01)


async def test_a_fork_that_goes_on_as_if_it_were_the_program_runs_nothing_again(
    gateway: Gateway, tmp_path: Path
) -> None:
    neighbour = await Neighbour(gateway, tmp_path, "a", "g").enter()
    body = "import asyncio, os\nos.fork()\nawait asyncio.sleep(0)\nreturn 'one answer'"
    assert (await do(gateway, body)).outputs == "one answer"
    assert (await neighbour.leave()).outputs == "unharmed"


async def test_memory_is_bounded_for_all_of_an_executor_together(
    gateway: Gateway, tmp_path: Path
) -> None:
    neighbour = await Neighbour(gateway, tmp_path, "a", "g").enter()
    body = """
import asyncio, mmap
shared = mmap.mmap(-1, 2**30)
for _ in range(2**10):
    shared.write(bytes(2**20))
    await asyncio.sleep(0)  # on a busy machine it takes seconds, in which it keeps nobody waiting
await asyncio.sleep(60)
"""
    assert (await do(gateway, body)).failure.type == "out-of-memory"
    assert (await gateway.end(neighbour.id)).failure.type == "out-of-memory"


# what is printed


def printed(answer: Answer) -> tuple[str, str]:
    assert answer.result is not None
    assert answer.result.printed is not None
    return answer.result.printed.stdout, answer.result.printed.stderr


async def test_whatever_python_prints_is_told_apart(gateway: Gateway) -> None:
    body = """
import asyncio, logging, sys
name = inputs["name"]
print(name, "begins,", end=" ")
await asyncio.sleep(0.02)
print("goes on")
async def task(): print(name, "in a task")
await asyncio.create_task(task())
await asyncio.to_thread(print, name, "in a thread")
sys.stdout.buffer.write(name.encode() + b" in bytes\\n")
sys.stderr.write(name + " to stderr")
logging.warning(name)
await asyncio.sleep(0.02)
sys.stdout.close()
print(name, "without an end", end="")
"""
    names = [f"n{number}" for number in range(20)]
    answers = await asyncio.gather(*(do(gateway, body, name=name, logs=True) for name in names))
    for name, answer in zip(names, answers, strict=True):
        out, err = printed(answer)
        assert out == (
            f"{name} begins, goes on\n{name} in a task\n{name} in a thread\n{name} in bytes\n"
            f"{name} without an end"
        )
        assert err == f"{name} to stderrWARNING:root:{name}\n"


UNSEEN = """
import asyncio
async def fails(): raise ValueError(inputs["name"])
kept = [asyncio.create_task(fails())]
if inputs["name"] == "later": kept.append(kept)
await asyncio.sleep(0)
kept = None
await asyncio.sleep(0)
"""


async def test_what_a_task_dies_of_unseen_is_told_to_no_other(
    gateway: Gateway, tmp_path: Path
) -> None:
    """Whoever's step it comes up in."""
    began, end = tmp_path / "began", tmp_path / "end"
    body = f"{WAIT.replace('return', 'seen =')}\nimport gc\ngc.collect()"
    inputs = {"body": body, "began": str(began), "end": str(end)}
    other = await gateway.begin(ANY, inputs, group="g", logs=True)
    await exists(began)
    assert "ValueError: at once" in printed(await do(gateway, UNSEEN, name="at once", logs=True))[1]
    await do(gateway, UNSEEN, name="later")
    end.touch()
    assert printed(await gateway.end(other)) == ("", "")


async def test_what_is_printed_after_its_execution_is_in_the_workers_log_only(
    gateway: Gateway, worker: Worker, tmp_path: Path
) -> None:
    neighbour, end = await Neighbour(gateway, tmp_path, "a", "g").enter(), tmp_path / "end"
    body = """
import asyncio, pathlib, time
def later():
    while not pathlib.Path(inputs["end"]).exists(): time.sleep(0.01)
    print("much later")
asyncio.ensure_future(asyncio.to_thread(later))
await asyncio.sleep(0)
"""
    await do(gateway, body, end=str(end))
    end.touch()
    line = json.loads(await worker.wait_for_log("much later"))
    assert line["execution"].startswith("several in executor")
    assert (await neighbour.leave()).outputs == "unharmed"


FD = "import asyncio, os\nos.write(1, b'by descriptor\\n')\nos.system('echo by a child')"


async def test_what_is_written_to_a_descriptor_is_of_the_only_one_that_runs(
    gateway: Gateway,
) -> None:
    assert printed(await do(gateway, FD, logs=True))[0] == "by descriptor\nby a child\n"


async def test_what_is_written_to_a_descriptor_beside_others_is_in_the_workers_log_only(
    gateway: Gateway, worker: Worker, tmp_path: Path
) -> None:
    neighbour = await Neighbour(gateway, tmp_path, "a", "g").enter()
    body = FD.replace("by", "nobody by")
    assert printed(await do(gateway, body, logs=True)) == ("", "")
    assert (await neighbour.leave()).outputs == "unharmed"
    line = json.loads(await worker.wait_for_log("nobody by descriptor"))
    assert line["execution"].startswith("several in executor")


async def test_printing_is_bounded_for_each(gateway: Gateway) -> None:
    body = "for _ in range(200): print('x' * 999)"
    answers = await asyncio.gather(*(do(gateway, body, logs=True) for _ in range(2)))
    for answer in answers:
        assert len(printed(answer)[0]) == 64 * 1024


# streams

STREAM = """
async def main(name: str, n: int, size: int = 0):
    for number in range(n):
        if number % 100 == 0: print(name, number)
        yield f"{name}{number}" + "x" * size
"""


async def test_streams_are_told_apart(gateway: Gateway) -> None:
    names = [f"n{number}-" for number in range(10)]
    answers = await asyncio.gather(
        *(
            gateway.run(STREAM, {"name": name, "n": 200}, group="s", stream=True, logs=True)
            for name in names
        )
    )
    for name, answer in zip(names, answers, strict=True):
        assert answer.chunks == [f'"{name}{i}"'.encode() for i in range(200)]
        assert "".join(log.text for log in answer.logs) == f"{name} 0\n{name} 100\n"
        assert answer.outputs is None


async def test_without_a_stream_the_outputs_are_a_list(gateway: Gateway) -> None:
    answer = await gateway.run(STREAM, {"name": "n", "n": 2}, group="s")
    assert answer.outputs == ["n0", "n1"]


async def test_a_reader_that_is_slow_slows_only_its_own_stream(gateway: Gateway) -> None:
    gateway.credit = False
    slow = await gateway.begin(
        STREAM, {"name": "slow", "n": 2000, "size": 1000}, group="s", stream=True
    )
    await gateway.until(lambda: sum(map(len, gateway.so_far(slow).chunks)) >= WINDOW)
    quick = await gateway.run(STREAM, {"name": "quick", "n": 100}, group="s", stream=True)
    assert len(quick.chunks) == 100
    assert sum(map(len, gateway.so_far(slow).chunks)) < 2 * WINDOW
    gateway.credit = True
    await gateway.send(Credit(slow, sum(map(len, gateway.so_far(slow).chunks))))
    assert len((await gateway.end(slow)).chunks) == 2000


async def test_a_stream_that_waits_for_its_reader_can_be_cancelled(gateway: Gateway) -> None:
    gateway.credit = False
    slow = await gateway.begin(
        STREAM, {"name": "slow", "n": 2000, "size": 1000}, group="s", stream=True
    )
    await gateway.until(lambda: sum(map(len, gateway.so_far(slow).chunks)) >= WINDOW)
    await gateway.cancel(slow)
    assert (await gateway.end(slow)).failure.type == "deadline-exceeded"
