"""Every way in which a program can misbehave harms its own execution, and nothing else.

One worker lives through all of it. After each program it is ready, an execution that ran beside it
has its result, the slot serves the next one, and no process is left over.
"""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support import process_tree
from tests.support.privileges import give_up_root, needs_root
from tests.support.worker import Gateway, Worker, linked, started_worker, worker_config

from anypod.wire.config import Limits

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024
EXECUTORS = 2
AT_REST = ["anypod-zygote"] + ["anypod-executor"] * (EXECUTORS + 1)
"""One executor is in reserve."""


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=[
        pytest.param(None, id="as this user"),
        pytest.param(give_up_root, id="as nobody", marks=needs_root),
    ],
)
async def worker(request: pytest.FixtureRequest) -> AsyncIterator[Worker]:
    config = worker_config(
        executors=EXECUTORS,
        limits=Limits(memory_bytes=512 * MIB, interrupt_grace_seconds=0.5),
    )
    async with started_worker(config, in_child=request.param) as worker:
        yield worker


@pytest_asyncio.fixture(loop_scope="module")
async def gateway(worker: Worker) -> AsyncIterator[Gateway]:
    async with linked(worker) as gateway:
        yield gateway


NEIGHBOUR = """
import pathlib, time

def main(end: str) -> str:
    while not pathlib.Path(end).exists():
        time.sleep(0.01)
    return "unharmed"
"""


@dataclass(frozen=True)
class Case:
    source: str
    type: str = ""
    """Of the failure; none when the program succeeds."""
    timeout: float = 30.0
    members: tuple[tuple[str, Any], ...] = ()
    outputs: Any = None


CASES = {
    "raises": Case(
        "def main(): raise ValueError('no')",
        "program-error",
        members=(("exception", "ValueError"),),
    ),
    "raises what cannot be replayed": Case(
        "class Odd(Exception):\n    def __init__(self, a, b): super().__init__()\n"
        "def main(): raise Odd(1, 2)",
        "program-error",
        members=(("exception", "Odd"),),
    ),
    "sys.exit": Case(
        "import sys\ndef main(): sys.exit(3)", "program-exited", members=(("exit_code", 3),)
    ),
    "os._exit": Case(
        "import os\ndef main(): os._exit(4)", "program-exited", members=(("exit_code", 4),)
    ),
    "os._exit(0)": Case(
        "import os\ndef main(): os._exit(0)", "program-exited", members=(("exit_code", 0),)
    ),
    "os.abort": Case(
        "import os\ndef main(): os.abort()", "program-crashed", members=(("signal", "SIGABRT"),)
    ),
    "segfault": Case(
        "import ctypes\ndef main(): ctypes.string_at(1)",
        "program-crashed",
        members=(("signal", "SIGSEGV"),),
    ),
    "kills itself": Case(
        "import os\ndef main(): os.kill(os.getpid(), 9)",
        "program-crashed",
        members=(("signal", "SIGKILL"),),
    ),
    "loops": Case("def main():\n    while True: pass", "deadline-exceeded", timeout=0.3),
    "ignores SIGTERM and SIGINT": Case(
        """
import signal
def main():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True: pass
""",
        "deadline-exceeded",
        timeout=0.3,
    ),
    "blocks all signals": Case(
        """
import signal
def main():
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    while True: pass
""",
        "deadline-exceeded",
        timeout=0.3,
    ),
    "catches everything": Case(
        """
def work(): return sum(range(100))
def main():
    while True:
        try:
            while True:
                work()
        except BaseException:
            work()
""",
        "deadline-exceeded",
        timeout=0.3,
    ),
    "async and never awaits": Case(
        "async def main():\n    while True: pass", "deadline-exceeded", timeout=0.3
    ),
    "holds the GIL in C": Case(
        "import re\ndef main(): re.match('(a+)+b', 'a' * 40)", "deadline-exceeded", timeout=0.3
    ),
    "stops itself": Case(
        "import os, signal\ndef main(): os.kill(os.getpid(), signal.SIGSTOP)",
        "deadline-exceeded",
        timeout=0.5,
    ),
    "fork bomb": Case(
        "import os\ndef main():\n    while True: os.fork()",
        "program-crashed",
        members=(("limit", 64), ("signal", "SIGKILL")),
    ),
    "allocates 10 GB": Case("def main(): return len(bytearray(10 * 2**30))", "out-of-memory"),
    "allocates bit by bit": Case(
        "def main():\n    kept = []\n    while True: kept.append(bytearray(2**20))",
        "out-of-memory",
    ),
    "allocates in children": Case(
        """
import os, time
def main():
    for _ in range(4):
        if os.fork() == 0:
            kept = bytearray(b"x") * (300 * 2**20)
            time.sleep(60)
    time.sleep(60)
""",
        "out-of-memory",
        members=(("limit", 512 * MIB),),
    ),
    "allocates shared memory": Case(
        """
import mmap, time
def main():
    shared = mmap.mmap(-1, 2**30)
    for page in range(0, 2**30, 4096): shared[page] = 1
    time.sleep(60)
""",
        "out-of-memory",
        members=(("limit", 512 * MIB),),
    ),
    "prints 100 MB": Case(
        "def main():\n    for _ in range(1000): print('x' * 100_000)\n    return 'printed'",
        outputs="printed",
    ),
    "closes fd 1": Case("import os\ndef main():\n    os.close(1)\n    return 1", outputs=1),
    "closes its streams": Case(
        "import sys\ndef main():\n    sys.stdout.close()\n    sys.stderr.close()\n    return 2",
        outputs=2,
    ),
    "closes every file": Case(
        "import os, time\ndef main():\n    os.closerange(0, 65536)\n    time.sleep(60)",
        "program-crashed",
    ),
    "opens files without end": Case(
        "kept = []\ndef main():\n    while True: kept.append(open('/dev/null'))",
        "program-error",
        members=(("exception", "OSError"),),
    ),
    "leaves a thread": Case(
        """
import threading, time
def main():
    threading.Thread(target=time.sleep, args=(600,)).start()
    return "left"
""",
        outputs="left",
    ),
    "leaves a child": Case(
        "import subprocess\ndef main(): return subprocess.Popen(['sleep', '600']) and 3", outputs=3
    ),
    "leaves a daemon": Case(
        """
import os, time
def main():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    os.wait()
    return "left"
""",
        outputs="left",
    ),
    "leaves a daemon and dies": Case(
        """
import os, time
def main():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    os.wait()
    os._exit(7)
""",
        "program-exited",
        members=(("exit_code", 7),),
    ),
    "its fork goes on as if it were it": Case(
        "import os\ndef main():\n    os.fork()\n    return 'one answer'", outputs="one answer"
    ),
    "returns 100 MB": Case(
        "def main(): return 'x' * 100_000_000", "output-too-large", members=(("limit", 8 * MIB),)
    ),
    "recurses for ever": Case(
        "def main(): return main()", "program-error", members=(("exception", "RecursionError"),)
    ),
    "recurses in C": Case(
        """
import sys
def main():
    sys.setrecursionlimit(2**30)
    nested = []
    for _ in range(100_000): nested = [nested]
    return repr(nested)
""",
        "program-crashed",
        members=(("signal", "SIGSEGV"),),
    ),
    "returns nothing that is JSON": Case(
        "def main(): return float('nan')", "output-not-serializable"
    ),
    "interrupts itself": Case(
        "import os, signal, time\ndef main():\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)",
        "program-error",
        members=(("exception", "KeyboardInterrupt"),),
    ),
    "raises what is not text": Case(
        "def main(): raise ValueError('\\ud800')",
        "program-error",
        members=(("exception", "ValueError"),),
    ),
    "writes nonsense to its supervisor": Case(
        """
import os, stat, time
def main():
    for fd in range(3, 100):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode): os.write(fd, b"\\xff" * 1000)
        except OSError:
            pass
    time.sleep(60)
""",
        "program-crashed",
    ),
    "shuts its supervisor's socket": Case(
        """
import os, socket, stat, time
def main():
    for fd in range(3, 100):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode): socket.socket(fileno=fd).shutdown(2)
        except OSError:
            pass
    time.sleep(60)
""",
        "program-crashed",
    ),
    "daemonises and holds its files": Case(
        """
import os, time
def main():
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
    os._exit(9)
""",
        "program-exited",
        members=(("exit_code", 9),),
    ),
    "prints half a character": Case(
        "import os\ndef main():\n    os.write(1, b'{\"t\": \\xe2\\x82')\n    return 6", outputs=6
    ),
    "sets an alarm for later": Case(
        "import signal\ndef main():\n    signal.setitimer(signal.ITIMER_REAL, 0.05)\n    return 5",
        outputs=5,
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_it_harms_nobody_else(
    name: str, worker: Worker, gateway: Gateway, tmp_path: Path
) -> None:
    case = CASES[name]
    await at_rest(worker)
    end = tmp_path / "end"
    tmp_path.chmod(0o755)
    neighbour = await gateway.begin(NEIGHBOUR, {"end": str(end)}, timeout=120)

    answer = await gateway.run(case.source, timeout=case.timeout)

    if case.type:
        assert answer.failure.type == case.type, answer.failure
        for member, value in case.members:
            assert getattr(answer.failure, member) == value, answer.failure
    else:
        assert answer.outputs == case.outputs
    end.touch()
    assert (await gateway.end(neighbour)).outputs == "unharmed"
    assert (await gateway.run("def main(x: int): return x + 1", {"x": 1})).outputs == 2
    await at_rest(worker)


async def at_rest(worker: Worker) -> None:
    await worker.until_idle(EXECUTORS)
    assert await worker.is_ready()
    assert await process_tree.until_names_are(worker.pid, AT_REST) == sorted(AT_REST)


def confined(worker: Worker) -> bool:
    return any('"signals_confined": true' in line for line in worker.log)


async def test_a_program_is_batch_work_beside_its_supervisor(gateway: Gateway) -> None:
    """However much it computes, it preempts nobody by waking up."""
    policy = """
import os
def main(): return [os.sched_getscheduler(pid) for pid in (0, os.getppid())]
"""
    assert (await gateway.run(policy)).outputs == [os.SCHED_BATCH, os.SCHED_OTHER]


KILLERS = {
    "its parent": "os.getppid()",
    "everybody": "-1",
    "its session's neighbours": "0",
}


@pytest.mark.parametrize("victim", KILLERS)
async def test_a_program_can_signal_only_what_it_started(
    victim: str, worker: Worker, gateway: Gateway
) -> None:
    if not confined(worker):
        pytest.skip("this kernel has no Landlock signal scope: it would kill the machine's")
    await at_rest(worker)
    executors = set(process_tree.named(worker.pid, "anypod-executor"))

    source = f"import os\ndef main():\n    os.kill({KILLERS[victim]}, 9)"
    answer = await gateway.run(source)

    assert answer.result is not None
    assert worker.process.returncode is None
    await at_rest(worker)
    lost = executors - set(process_tree.named(worker.pid, "anypod-executor"))
    assert len(lost) <= 1, "only its own executor can be among the killed"


async def test_a_program_cannot_reach_a_neighbours_process(
    worker: Worker, gateway: Gateway
) -> None:
    if not confined(worker):
        pytest.skip("this kernel has no Landlock signal scope")
    await at_rest(worker)
    pids = [worker.pid, *process_tree.named(worker.pid, "anypod-executor")]
    source = """
import os
def main(pids: list[int]) -> list[str]:
    told = []
    for pid in pids:
        if pid == os.getpid():
            continue
        for what in ("environ", "mem", "maps"):
            try:
                open(f"/proc/{pid}/{what}", "rb").read(1)
                told.append(f"read {what} of {pid}")
            except OSError:
                pass
        try:
            os.kill(pid, 19)
            told.append(f"stopped {pid}")
        except PermissionError:
            pass
    return told
"""
    assert (await gateway.run(source, {"pids": pids})).outputs == []


async def test_what_one_program_changes_the_next_does_not_see(
    worker: Worker, gateway: Gateway
) -> None:
    change = """
import locale, os, signal, sys, time
def main():
    os.chdir("/")
    os.environ["LEFT_BEHIND"] = "x"
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    os.umask(0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    sys.path.insert(0, "/left/behind")
    sys.stdout = None
"""
    look = """
import os, signal, sys, time
def main():
    mask = os.umask(0o22)
    os.umask(mask)
    return [os.getcwd(), dict(os.environ), time.tzname[0], mask, "/left/behind" in sys.path,
            signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN, sys.stdout is None]
"""
    await at_rest(worker)
    before = [(await gateway.run(look)).outputs for _ in range(4)]
    for _ in range(4):
        assert (await gateway.run(change)).outputs is None
    after = [(await gateway.run(look)).outputs for _ in range(4)]
    assert all(each in before for each in after), after


LEFT = {
    "a traceback that is due": "faulthandler.dump_traceback_later(0.1, exit=True)",
    "an audit hook that raises": "sys.addaudithook(lambda name, _: 1 / 0 if name == 'open' else 0)",
    "an audit hook that prints": "sys.addaudithook(lambda event, _: os.write(1, b'heard'))",
    "a finder that raises": "sys.meta_path.insert(0, F())",
    "a folder for temporary files": "forget(os.environ)",
    "nice": "os.nice(3)",
}


@pytest.mark.parametrize("left", LEFT)
async def test_the_next_program_is_loaded_and_runs_whatever_the_last_has_left(
    left: str, worker: Worker, gateway: Gateway
) -> None:
    leaving = f"""
import faulthandler, os, sys, tempfile
class F:
    def find_spec(self, *_):
        raise RuntimeError("none of yours")
def forget(environ):
    with tempfile.TemporaryDirectory() as environ["TMPDIR"]:
        tempfile.tempdir = None
        tempfile.gettempdir()
def main():
    {LEFT[left]}
"""
    following = """
import os, tempfile, time
def main(number: int):
    with tempfile.NamedTemporaryFile():
        time.sleep(0.15)
    return os.nice(0)
"""
    await at_rest(worker)
    for number in range(EXECUTORS):
        assert (await gateway.run(leaving)).outputs is None
        answer = await gateway.run(f"{following}# {number}", {"number": number}, logs=True)
        assert answer.outputs == 0
        assert answer.result is not None
        assert answer.result.printed is not None
        assert answer.result.printed.stdout + answer.result.printed.stderr == ""


async def test_an_end_that_was_said_too_early_is_not_the_next_executions_fault(
    worker: Worker, gateway: Gateway, tmp_path: Path
) -> None:
    early = """
import pathlib, sys, time
from anypod_worker import frames
def main(say: str, end: str):
    while not pathlib.Path(say).exists():
        time.sleep(0.01)
    frame = sys._getframe()
    while "frame" not in frame.f_locals or "self" not in frame.f_locals:
        frame = frame.f_back
    frame.f_locals["self"]._wire.send(frames.Done(frame.f_locals["frame"].id, 0.0, b"1"))
    while not pathlib.Path(end).exists():
        time.sleep(0.01)
"""
    await at_rest(worker)
    say, end = tmp_path / "say", tmp_path / "end"
    tmp_path.chmod(0o755)
    inputs = {"say": str(say), "end": str(end)}
    running = [await gateway.begin(early, inputs) for _ in range(EXECUTORS)]
    say.touch()
    for id_ in running:
        assert (await gateway.end(id_)).outputs == 1
    await gateway.until(lambda: gateway.load.idle == EXECUTORS)
    waiting = [await gateway.begin(early, inputs) for _ in range(EXECUTORS)]
    await gateway.until(lambda: gateway.load.busy == EXECUTORS)
    end.touch()
    for id_ in waiting:
        assert (await gateway.end(id_)).failure.type == "worker-lost"
    await at_rest(worker)


async def test_a_flood_of_output_stalls_nobody_and_is_not_kept(
    worker: Worker, gateway: Gateway, tmp_path: Path
) -> None:
    """At least 100 MB, and as long as others are served beside it."""
    await at_rest(worker)
    before = memory_of(worker.pid)
    source = """
import os
def main(end: str) -> int:
    count = 0
    while count < 1000 or not os.path.exists(end):
        os.write(1, b'x' * 100_000)
        count += 1
    return count
"""
    end = tmp_path / "end"
    flood = await gateway.begin(source, {"end": str(end)}, timeout=120)
    highest = before
    for beside in range(20):
        assert (await gateway.run("def main(x: int): return x", {"x": beside})).outputs == beside
        highest = max(highest, memory_of(worker.pid))
    assert gateway.so_far(flood).result is None
    end.touch()
    assert (await gateway.end(flood)).outputs >= 1000
    assert max(highest, memory_of(worker.pid)) - before < 16 * MIB


def memory_of(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


async def test_output_is_bounded_and_what_is_cut_is_counted(
    worker: Worker, gateway: Gateway
) -> None:
    source = "def main(): print('y' * 10_000_000)"
    answer = await gateway.run(source, logs=True)
    assert answer.result is not None
    printed = answer.result.printed
    assert printed is not None
    assert printed.stdout == "y" * worker.config.limits.log_bytes
    assert printed.cut_bytes == 10_000_001 - worker.config.limits.log_bytes


async def test_a_killed_execution_tells_what_it_had_printed(gateway: Gateway) -> None:
    source = "import os\ndef main():\n    print('so far')\n    os._exit(1)"
    answer = await gateway.run(source, logs=True)
    assert answer.failure.type == "program-exited"
    assert answer.result is not None
    assert answer.result.printed is not None
    assert answer.result.printed.stdout == "so far\n"


async def test_a_timed_out_execution_tells_what_it_had_printed(gateway: Gateway) -> None:
    source = "def main():\n    print('so far')\n    while True: pass"
    answer = await gateway.run(source, logs=True, timeout=0.3)
    assert answer.failure.type == "deadline-exceeded"
    assert answer.result is not None
    assert answer.result.printed is not None
    assert answer.result.printed.stdout == "so far\n"
