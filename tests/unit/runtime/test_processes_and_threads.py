"""Programs that start processes and threads."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.support.forked import Ended, in_executor
from tests.support.programs import executed, loaded

from anypod_worker.runtime.containment import Baseline

THREADS_THAT_END = {
    "joined": "thread = threading.Thread(target=time.sleep, args=(0.01,))\n    thread.start()\n"
    "    thread.join()",
    "in a pool": "with concurrent.futures.ThreadPoolExecutor(2) as pool:\n"
    "        list(pool.map(time.sleep, [0.01, 0.01]))",
    "in a pool that is dropped": "concurrent.futures.ThreadPoolExecutor(2)"
    ".submit(time.sleep, 0).result()",
}
THREADS_THAT_STAY = {
    "a daemon": "threading.Thread(target=EVENT.wait, daemon=True).start()",
    "no daemon": "threading.Thread(target=EVENT.wait).start()",
    "a timer": "threading.Timer(3600, print).start()",
    "a raw thread": "_thread.start_new_thread(lambda: (BEGUN.set(), EVENT.wait()), ())\n"
    "    BEGUN.wait()",
    "in a pool that is kept": "POOL.submit(EVENT.wait)",
}
THREADS = """import _thread, concurrent.futures, threading, time
EVENT, BEGUN = threading.Event(), threading.Event()
POOL = concurrent.futures.ThreadPoolExecutor(1)
def main():
    """


@pytest.mark.parametrize("case", THREADS_THAT_END)
def test_threads_that_ended_are_not_told(tmp_path: Path, case: str) -> None:
    outcome = executed(loaded(tmp_path, f"{THREADS}{THREADS_THAT_END[case]}\n"))
    assert outcome.failure is None
    assert not outcome.threads_left


@pytest.mark.parametrize("case", THREADS_THAT_STAY)
def test_a_thread_that_runs_on_is_told(tmp_path: Path, case: str) -> None:
    def body(_baseline: Baseline) -> bool:
        return executed(loaded(tmp_path, f"{THREADS}{THREADS_THAT_STAY[case]}\n")).threads_left

    assert in_executor(body).value is True


def test_a_clock_that_a_program_stops_is_its_own(tmp_path: Path) -> None:
    """As libraries do that freeze the time."""
    stopping = """
        import threading, time
        def main(stop):
            time.sleep(0.01)
            if stop:
                time.perf_counter = time.monotonic = lambda: 0.0
                threading.Thread(target=threading.Event().wait, daemon=True).start()
    """

    def body(_baseline: Baseline) -> list[tuple[bool, bool]]:
        program = loaded(tmp_path, stopping)
        outcomes = [executed(program, {"stop": stop}) for stop in (True, False)]
        return [(0.01 < each.run_seconds < 10, each.threads_left) for each in outcomes]

    assert in_executor(body).value == [(True, True), (True, False)]


def test_threads_of_others_are_not_told(tmp_path: Path) -> None:
    event = threading.Event()
    thread = threading.Thread(target=event.wait)
    thread.start()
    try:
        assert not executed(loaded(tmp_path, "def main(): ...\n")).threads_left
    finally:
        event.set()
        thread.join()


MULTIPROCESSING = """
import logging, multiprocessing, threading, time

def square(n):
    logging.getLogger("child").warning("square of %d", n)
    return n * n

def main(method, n):
    stop = threading.Event()
    def log():
        while not stop.wait(0.0001):
            logging.getLogger("parent").warning("busy")
    thread = threading.Thread(target=log)
    thread.start()
    try:
        with multiprocessing.get_context(method).Pool(2) as pool:
            return pool.map(square, range(n))
    finally:
        stop.set()
        thread.join()
"""


@pytest.mark.parametrize(("method", "rounds"), [("fork", 20), ("spawn", 1)])
def test_multiprocessing_works_while_threads_log(tmp_path: Path, method: str, rounds: int) -> None:
    def body(baseline: Baseline) -> list[Any]:
        found = []
        program = loaded(tmp_path, MULTIPROCESSING)
        for _ in range(rounds):
            outcome = executed(program, {"method": method, "n": 5})
            assert outcome.outputs is not None, outcome.failure
            found.append((json.loads(outcome.outputs), outcome.threads_left))
            assert baseline.restore()
        return found

    ended = in_executor(body)
    assert ended.value == [([0, 1, 4, 9, 16], False)] * rounds
    assert ended.stderr.count("square of 4") == rounds


def test_a_process_and_its_queue_work(tmp_path: Path) -> None:
    source = """
        import multiprocessing
        class Job:
            def __init__(self, n):
                self.n = n
        def work(queue, job):
            queue.put(Job(job.n + 1))
        def main():
            context = multiprocessing.get_context("fork")
            queue = context.Queue()
            process = context.Process(target=work, args=(queue, Job(1)))
            process.start()
            job = queue.get(timeout=30)
            process.join(30)
            queue.close()
            queue.join_thread()
            return [job.n, process.exitcode]
    """

    def body(_baseline: Baseline) -> bytes | None:
        return executed(loaded(tmp_path, source)).outputs

    assert in_executor(body).value == b"[2,0]"


def _forking(directory: Path, source: str, *, stream: bool = False) -> Ended:
    """A program that forks; the parent waits, so that both have ended."""

    def body(_baseline: Baseline) -> tuple[Any, list[bytes]]:
        chunks: list[bytes] = []
        emit = chunks.append if stream else None
        return executed(loaded(directory, source), emit=emit), chunks

    return in_executor(body)


@pytest.mark.parametrize(
    ("child", "status"),
    [
        ("return 'child'", 0),
        ("raise ValueError('in the child')", 1),
        ("raise SystemExit(7)", 7),
        ("os._exit(3)", 3),
        ("print('in the child', end=''); return None", 0),
    ],
)
def test_a_fork_that_returns_has_no_one_to_answer_to(
    tmp_path: Path, child: str, status: int
) -> None:
    source = f"""
import os
def main():
    pid = os.fork()
    if pid == 0:
        {child}
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""
    ended = _forking(tmp_path, source)
    outcome, _ = ended.value
    assert outcome.outputs == str(status).encode()
    if "in the child" in child:
        assert "in the child" in ended.stdout + ended.stderr


def test_a_fork_in_a_generator_emits_nothing(tmp_path: Path) -> None:
    source = """
        import os
        def main():
            yield 1
            pid = os.fork()
            if pid:
                os.waitpid(pid, 0)
            yield 2 if pid else "child"
    """
    outcome, chunks = _forking(tmp_path, source, stream=True).value
    assert outcome.outputs == b"null"
    assert chunks == [b"1", b"2"]


def test_a_program_does_not_see_our_main_module(tmp_path: Path) -> None:
    source = "import __main__\ndef main():\n    return sorted(set(vars(__main__)))\n"
    outcome, _ = _forking(tmp_path, source).value
    names = json.loads(outcome.outputs)
    assert all(name.startswith("__") for name in names)
