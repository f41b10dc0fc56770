"""Whole trees are found and ended, whoever forks, moves away or stops in them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from anypod_worker import memory, processes

TREE = """
import os, sys, time
def fork(levels):
    for _ in range(2):
        if levels and os.fork() == 0:
            if levels == 2: os.setsid()
            fork(levels - 1)
    if levels == 3: print("ready", flush=True)
    time.sleep(600)
fork(3)
"""


@pytest.fixture
def tree() -> Iterator[int]:
    """Fifteen processes, some in sessions of their own."""
    process = subprocess.Popen([sys.executable, "-c", TREE], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as output:
        assert output.readline() == b"ready\n"
        while len(processes.descendants(process.pid)) < 14:
            pass
        yield process.pid
    processes.kill_below_until_none(process.pid, 10)
    process.kill()
    process.wait()


def test_descendants_are_found_through_sessions(tree: int) -> None:
    assert len(processes.children(tree)) == 2
    assert len(set(processes.descendants(tree))) == 14
    assert tree in processes.children(os.getpid())


def test_a_scan_finds_the_same_children(tree: int) -> None:
    assert sorted(processes._children_by_scan(tree)) == sorted(processes.children(tree))


def test_a_whole_tree_is_killed(tree: int) -> None:
    below = processes.descendants(tree)
    assert processes.kill_below_until_none(tree, 10)
    end = time.monotonic() + 10  # whose parent died first is not below any more, and dying
    while any(processes.is_alive(pid) for pid in below):
        assert time.monotonic() < end
    assert processes.is_alive(tree), "the one above is spared"


def test_a_tree_that_grows_while_it_is_killed_is_killed() -> None:
    source = (
        "import os, time\nprint('ready', flush=True)\nfor _ in range(7): os.fork()\ntime.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as output:
        output.readline()
        assert processes.kill_below_until_none(process.pid, 20)
        process.kill()
        process.wait()


def test_the_dead_are_not_alive_and_zombies_neither() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not processes.is_alive(process.pid), "a zombie"
    process.wait()
    assert not processes.is_alive(process.pid)
    assert processes.children(process.pid) == []
    processes.send(process.pid, signal.SIGKILL)


def test_memory_of_a_process_is_seen_to_grow() -> None:
    source = (
        "import sys\nprint('ready', flush=True)\nsys.stdin.readline()\n"
        "kept = bytearray(b'x') * 50_000_000\nprint('grown', flush=True)\nsys.stdin.readline()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", source],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin as asked, process.stdout as told:
        growth = memory.Growth()
        told.readline()
        growth.begin(process.pid)
        asked.write("\n")
        told.readline()
        assert 49_000_000 < growth.of_tree(process.pid, []) < 60_000_000
        with contextlib.suppress(BrokenPipeError):
            asked.write("\n")
    process.wait()
    assert memory.resident(process.pid) is None
    assert memory.proportional(process.pid) is None


def test_children_are_noticed_without_an_exception() -> None:
    source = """
import subprocess, sys
from anypod_worker import kernel
assert not kernel.has_children()
child = subprocess.Popen(["sleep", "600"])
assert kernel.has_children()
child.kill()
child.wait()
assert not kernel.has_children()
"""
    subprocess.run([sys.executable, "-c", source], check=True, timeout=60)


def test_a_confined_process_signals_only_what_it_started() -> None:
    source = """
import os, signal, subprocess, sys
from anypod_worker import kernel
stranger = int(sys.argv[1])
os.kill(stranger, 0)
if not kernel.confine_signals():
    sys.exit(77)
try:
    os.kill(stranger, 0)
    sys.exit("reached a stranger")
except PermissionError:
    pass
child = subprocess.Popen(["sleep", "600"])
child.kill()
assert child.wait() == -signal.SIGKILL
"""
    argv = [sys.executable, "-c", source, str(os.getpid())]
    status = subprocess.run(argv, timeout=60, check=False).returncode
    if status == 77:
        pytest.skip("this kernel has no Landlock signal scope")
    assert status == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root has capabilities to give up")
def test_root_gives_up_its_capabilities_for_good() -> None:
    source = """
import os, subprocess
from anypod_worker import kernel
kernel.give_up_capabilities()
kernel.confine_signals()
text = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout
caps = {line.split()[1] for line in text.splitlines() if line.startswith(("CapPrm", "CapEff"))}
assert caps == {"0" * 16}, caps
"""
    subprocess.run([sys.executable, "-c", source], check=True, timeout=60)


def test_limits_hold() -> None:
    source = """
from anypod_worker import kernel
kernel.limit_resources(data_bytes=200_000_000, open_files=32)
try:
    bytearray(10 * 2**30)
    raise SystemExit("got 10 GB")
except MemoryError:
    pass
kept = []
try:
    while True: kept.append(open("/dev/null"))
except OSError as error:
    assert error.errno == 24
"""
    subprocess.run([sys.executable, "-c", source], check=True, timeout=60)
