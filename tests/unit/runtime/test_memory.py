"""A program that needs too much memory gets MemoryError, and the executor goes on."""

import resource
from pathlib import Path
from typing import Any

import pytest
from tests.support.forked import in_executor
from tests.support.programs import executed, loaded

from anypod_worker.runtime.containment import Baseline

MIB = 1024 * 1024

HOGS = {
    "one block": "def main():\n    return len(bytearray(10 << 30))\n",
    "many blocks": "def main():\n    kept = []\n    while True:\n"
    "        kept.append(bytearray(1 << 20))\n",
    "many lists": "def main():\n    kept = []\n    while True:\n"
    "        kept.append([object()] * 2000)\n",
    "in a global": "KEPT = []\ndef main():\n    try:\n        while True:\n"
    "            KEPT.append(bytearray(1 << 20))\n    except MemoryError:\n        KEPT.clear()\n"
    "        raise\n",
    "a recursion of big frames": "def f(data):\n    return f(data + data)\n"
    "def main():\n    return f(b'x' * (1 << 20))\n",
    "in a coroutine": "async def main():\n    kept = []\n    while True:\n"
    "        kept.append(bytearray(1 << 20))\n",
}  # fmt: skip

TOO_LARGE = {
    "one object many times": "def main():\n    return ['x' * (10 << 20)] * 1000\n",
    "a tree of the same": "def main():\n    value = 'x' * 100\n    for _ in range(30):\n"
    "        value = [value, value]\n    return value\n",
    "one string": "def main():\n    return 'x' * (100 << 20)\n",
    "bytes": "def main():\n    return b'x' * (100 << 20)\n",
}


def with_little_memory(directory: Path, source: str) -> list[Any]:
    """Outcomes of the program, and of one that is harmless, under RLIMIT_DATA."""

    def body(_baseline: Baseline) -> list[Any]:
        program = loaded(directory, source)
        harmless = loaded(directory, "def main():\n    return len(bytearray(1 << 20))\n")
        limit = _data_bytes() + 120 * MIB
        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
        baseline = Baseline.capture()
        outcomes = []
        for each in (program, harmless, program, harmless):
            outcomes.append(executed(each, limit=MIB))
            assert baseline.restore()
        return outcomes

    found: list[Any] = in_executor(body).value
    return found


def _data_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmData")


@pytest.mark.parametrize("case", HOGS)
def test_a_hog_is_told_and_the_next_execution_has_memory(tmp_path: Path, case: str) -> None:
    outcomes = with_little_memory(tmp_path, HOGS[case])
    for hog in outcomes[::2]:
        assert hog.failure.type == "out-of-memory"
        assert hog.failure.exception == "MemoryError"
    assert [each.outputs for each in outcomes[1::2]] == [str(1 << 20).encode()] * 2


@pytest.mark.parametrize("case", TOO_LARGE)
def test_outputs_that_do_not_fit_in_memory_are_too_large(tmp_path: Path, case: str) -> None:
    outcomes = with_little_memory(tmp_path, TOO_LARGE[case])
    for large in outcomes[::2]:
        assert large.failure.type == "output-too-large"
        assert large.failure.limit == MIB
    assert [each.outputs for each in outcomes[1::2]] == [str(1 << 20).encode()] * 2
