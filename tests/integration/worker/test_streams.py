"""A stream goes as fast as its reader, and no faster; a reader that leaves ends it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.worker import Gateway, Worker, linked, started_worker, worker_config

from anypod.wire.config import Limits
from anypod.wire.messages import WINDOW, Chunk, Credit

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENDLESS = """
import pathlib
def main(file: str):
    sent = 0
    try:
        while True:
            sent += 1
            pathlib.Path(file).write_text(str(sent))
            yield "x" * 998
    finally:
        pathlib.Path(file).write_text("ended")
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker() -> AsyncIterator[Worker]:
    config = worker_config(limits=Limits(log_bytes=1024 * 1024, interrupt_grace_seconds=5))
    async with started_worker(config) as worker:
        yield worker


@pytest_asyncio.fixture(loop_scope="module")
async def gateway(worker: Worker) -> AsyncIterator[Gateway]:
    async with linked(worker) as gateway:
        yield gateway


@pytest.mark.parametrize("prefix", ["", "async "])
async def test_chunks_come_in_order_before_the_result(gateway: Gateway, prefix: str) -> None:
    source = f"{prefix}def main(n: int):\n    for i in range(n): yield i"
    answer = await gateway.run(source, {"n": 1000}, stream=True)
    assert answer.chunks == [str(number).encode() for number in range(1000)]
    assert answer.outputs is None


async def test_without_a_stream_the_outputs_are_a_list(gateway: Gateway) -> None:
    answer = await gateway.run("def main():\n    for i in range(3): yield i")
    assert answer.outputs == [0, 1, 2]
    assert answer.chunks == []


async def test_log_lines_and_chunks_come_as_they_are_made(gateway: Gateway) -> None:
    source = "def main():\n    for i in range(3):\n        print('line', i)\n        yield i"
    answer = await gateway.run(source, stream=True, logs=True)
    assert "".join(log.text for log in answer.logs) == "line 0\nline 1\nline 2\n"
    assert answer.chunks == [b"0", b"1", b"2"]


async def test_a_failure_ends_the_stream(gateway: Gateway) -> None:
    source = "def main():\n    yield 1\n    raise ValueError('no more')"
    answer = await gateway.run(source, stream=True)
    assert answer.chunks == [b"1"]
    assert answer.failure.type == "program-error"


def memory_of(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


async def settled(file: Path) -> int:
    """The count in the file, once it does not rise any more."""
    before = -1
    while True:
        text = file.read_text() if file.exists() else "0"
        now = int(text or "0")
        if now == before and now > 0:
            return now
        before = now
        await asyncio.sleep(0.3)


async def test_without_credit_the_producer_stops_and_memory_stays_flat(
    worker: Worker, gateway: Gateway, tmp_path: Path
) -> None:
    gateway.credit = False
    before = memory_of(worker.pid)
    file = tmp_path / "sent"
    id_ = await gateway.begin(ENDLESS, {"file": str(file)}, stream=True)

    produced = await settled(file)

    received = len(gateway.so_far(id_).chunks)
    assert WINDOW // 1000 <= received <= WINDOW // 1000 + 1
    assert produced <= 2 * (WINDOW // 1000) + 4, "one window on the way, one in the worker"
    assert memory_of(worker.pid) - before < 8 * WINDOW

    await gateway.send(Credit(id_, 100_000))
    await gateway.until(lambda: len(gateway.so_far(id_).chunks) >= received + 100)
    assert len(gateway.so_far(id_).chunks) <= received + 101

    await gateway.cancel(id_)
    await gateway.end(id_)
    assert file.read_text() == "ended", "the generator was closed"
    await worker.until_idle(2)


async def test_a_stalled_stream_does_not_stall_others(gateway: Gateway, tmp_path: Path) -> None:
    gateway.credit = False
    file = tmp_path / "sent"
    id_ = await gateway.begin(ENDLESS, {"file": str(file)}, stream=True)
    await settled(file)
    for x in range(20):
        assert (await gateway.run("def main(x: int): return x", {"x": x})).outputs == x
    await gateway.cancel(id_)
    await gateway.end(id_)


async def test_a_stalled_stream_ends_at_its_deadline(gateway: Gateway, tmp_path: Path) -> None:
    gateway.credit = False
    file = tmp_path / "sent"
    answer = await gateway.run(ENDLESS, {"file": str(file)}, stream=True, timeout=1.0)
    assert answer.failure.type == "deadline-exceeded"
    assert file.read_text() == "ended"


async def test_log_text_waits_for_credit_too_and_the_result_waits_behind_it(
    worker: Worker,
    gateway: Gateway,
) -> None:
    gateway.credit = False
    source = "def main():\n    for _ in range(600): print('y' * 999)"
    id_ = await gateway.begin(source, stream=True, logs=True)
    await gateway.until(lambda: gateway.so_far(id_).logs)
    quick = await gateway.run("def main(): return 1")
    assert quick.outputs == 1
    await gateway.until(lambda: sum(len(log.text) for log in gateway.so_far(id_).logs) >= WINDOW)
    await worker.until_idle(2)
    assert gateway.so_far(id_).result is None
    while gateway.so_far(id_).result is None:
        before = len(gateway.received)
        await gateway.send(Credit(id_, 100_000))
        await gateway.until(lambda before=before: len(gateway.received) > before)
    assert sum(len(log.text) for log in gateway.so_far(id_).logs) == 600_000


async def test_a_reader_that_leaves_ends_a_finished_stream(
    worker: Worker, gateway: Gateway
) -> None:
    gateway.credit = False
    source = "def main():\n    for _ in range(600): print('y' * 999)"
    id_ = await gateway.begin(source, stream=True, logs=True)
    await gateway.until(lambda: sum(len(log.text) for log in gateway.so_far(id_).logs) >= WINDOW)
    await worker.until_idle(2)
    await gateway.cancel(id_)
    assert (await gateway.end(id_)).result is not None


async def test_one_chunk_larger_than_the_window_passes(gateway: Gateway) -> None:
    size = 3 * WINDOW
    source = "def main(n: int):\n    yield 'x' * n\n    yield 'after'"
    answer = await gateway.run(source, {"n": size}, stream=True)
    assert [len(chunk) for chunk in answer.chunks] == [size + 2, 7]


async def test_a_hundred_megabytes_pass_a_slow_reader(worker: Worker, gateway: Gateway) -> None:
    before = memory_of(worker.pid)
    source = "def main():\n    for _ in range(1000): yield 'x' * 100_000"
    id_ = await gateway.begin(source, stream=True)
    answer = gateway.so_far(id_)
    highest = 0
    while answer.result is None:
        seen = len(answer.chunks)
        await gateway.until(lambda seen=seen: len(answer.chunks) > seen or answer.result)
        highest = max(highest, memory_of(worker.pid))
        answer.chunks[:] = [b""] * len(answer.chunks)
    assert len(answer.chunks) == 1000
    assert highest - before < 16 * 1024 * 1024


async def test_streams_are_told_apart(gateway: Gateway) -> None:
    source = "def main(name: str):\n    for i in range(500): yield f'{name}{i}'"
    answers = await asyncio.gather(
        *(gateway.run(source, {"name": name}, stream=True) for name in "ab")
    )
    for name, answer in zip("ab", answers, strict=True):
        assert answer.chunks == [f'"{name}{i}"'.encode() for i in range(500)]
    assert all(isinstance(m, Chunk) for m in gateway.received if hasattr(m, "data"))
