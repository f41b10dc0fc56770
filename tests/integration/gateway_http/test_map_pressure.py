"""Batches under pressure: slow readers, full pools, dead workers, gateways that stop."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.batches import NDJSON, NOTE, batch, items_answered, lines, told
from tests.support.rig import Gateway, Rig, pool_of, rig

from anypod import AsyncClient
from anypod_gateway.shares import SPARE

LARGE = "def main(n: int, pad: str) -> str:\n    return pad\n"
SLEEP = """
import time
def main(n: int = 0, seconds: float = 0.02) -> int:
    time.sleep(seconds)
    return n
"""

PATIENT = """
import pathlib, time
def main(file: str) -> int:
    pathlib.Path(file + ".begun").touch()
    while not pathlib.Path(file).exists():
        time.sleep(0.01)
    return 1
"""
QUEUED = 100
"""Calls of one session that may wait at a gateway, or at its worker; more are refused."""


def resident(gateway: Gateway) -> int:
    """Bytes of memory."""
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return 1024 * int(status.partition("VmRSS:")[2].split()[0])


@asynccontextmanager
async def connected(
    gateway: Gateway, program: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A batch's connection, of which nothing has been sent but the head."""
    host, port = gateway.url[7:].split(":")
    reader, writer = await asyncio.open_connection(host, port, limit=2**20)
    writer.write(
        f"POST /v1/pools/default/programs/{program}/map HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    )
    try:
        yield reader, writer
    finally:
        writer.close()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def unchanging(look: Any) -> int:
    """What is told when it has been told many times in a row."""
    last, times = -1, 0
    async with asyncio.timeout(60):
        while times < 25:
            found = await look()
            times = times + 1 if found == last else 0
            last = found
            await asyncio.sleep(0.04)
    return last


async def test_a_reader_that_does_not_read_stalls_the_uploader_and_not_the_gateway(
    tmp_path: Path,
) -> None:
    """120 MB come in and go out, and next to nothing of that is ever in the gateway."""
    count, pad = 2000, "x" * 60_000
    sent = 0
    async with rig(tmp_path, pool=pool_of(executors=2)) as made:
        gateway = made.gateway
        await gateway.create(LARGE, "large")
        before = resident(gateway)
        async with connected(gateway, "large") as (reader, writer):

            async def upload() -> None:
                nonlocal sent
                for n in range(count):
                    writer.write(chunk(lines([{"n": n, "pad": pad}])))
                    await writer.drain()
                    sent = n + 1
                writer.write(b"0\r\n\r\n")

            uploading = asyncio.ensure_future(upload())
            answered = await unchanging(lambda: items_answered(gateway))
            assert 0 < answered < 300  # what is kept, and what the connection's buffers hold
            assert sent < 400
            assert resident(gateway) - before < 64 * 2**20
            async with asyncio.timeout(100):
                while b'"end"' not in (line := await reader.readuntil(b"\n")):
                    pass
            await uploading
            assert f'"succeeded":{count}'.encode() in line
        assert resident(gateway) - before < 64 * 2**20


async def test_other_calls_go_on_beside_batches_that_fill_the_pool(tmp_path: Path) -> None:
    """Though the queue takes only a few more than the batches may have in it."""
    pool = pool_of(executors=2, queue={"depth": SPARE + 2})
    async with rig(tmp_path, pool=pool) as made:
        gateway = made.gateway
        await gateway.create(SLEEP, "sleep")
        upload = lines({"n": n} for n in range(100))
        batches = [asyncio.ensure_future(batch(gateway, "sleep", upload)) for _ in range(4)]
        while not await items_answered(gateway):
            await asyncio.sleep(0.01)
        for n in range(20):
            assert (await gateway.run("sleep", n=n)).outputs == n
        assert not all(one.done() for one in batches)
        for done in await asyncio.gather(*batches):
            assert done.outputs == list(range(100))


async def test_a_session_that_is_busy_holds_up_no_other_batch(tmp_path: Path) -> None:
    """Though as many batches wait for it as the pool has places for items."""
    go = tmp_path / "go"
    connections = aiohttp.TCPConnector(limit=0)
    async with (
        rig(tmp_path, pool=pool_of(executors=1)) as made,
        aiohttp.ClientSession(connector=connections) as http,
    ):
        gateway = replace(made.gateway, http=http)
        await gateway.create(PATIENT, "patient")
        await gateway.create(SLEEP, "sleep")
        upload, session = lines([{"file": str(go)}]), {"X-Session-ID": "busy"}
        waiting = [
            asyncio.ensure_future(batch(gateway, "patient", upload, headers=session))
            for _ in range(1 + SPARE + QUEUED + 1)
        ]
        async with asyncio.timeout(60):
            while not Path(f"{go}.begun").exists():
                await asyncio.sleep(0.01)
        done = await batch(gateway, "sleep", lines({"n": n} for n in range(10)))
        assert done.outputs == list(range(10))
        go.touch()
        for one in await asyncio.gather(*waiting):
            assert one.outputs == [1]


async def test_what_the_queue_has_no_room_for_is_tried_again(tmp_path: Path) -> None:
    async with rig(tmp_path, pool=pool_of(executors=1, queue={"depth": 0})) as made:
        await made.gateway.create(SLEEP, "sleep")
        done = await batch(made.gateway, "sleep", lines({"n": n} for n in range(12)))
    assert done.outputs == list(range(12))


async def test_but_only_until_the_items_deadline(tmp_path: Path) -> None:
    async with rig(tmp_path, pool=pool_of(executors=1, queue={"depth": 0})) as made:
        await made.gateway.create(SLEEP, "sleep")
        upload = lines([{"n": 0, "seconds": 50}, {"n": 1}])
        done = await batch(made.gateway, "sleep", upload, "?timeoutSeconds=2")
    assert set(done.problems) == {0, 1}
    assert done.problems[1] in {"queue-full", "deadline-exceeded"}


async def until(log: Path, count: int) -> None:
    async with asyncio.timeout(60):
        while not log.exists() or log.read_text().count("done") < count:
            await asyncio.sleep(0.01)


async def kill_one(made: Rig) -> None:
    worker = made.workers["w1"]
    worker.process.send_signal(signal.SIGKILL)
    await worker.process.wait()


@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_worker_that_dies_costs_no_more_than_what_it_was_at(
    tmp_path: Path, idempotent: bool
) -> None:
    log = tmp_path / "log"
    async with rig(tmp_path, pool=pool_of(executors=2), workers=2) as made:
        await made.gateway.create(NOTE, "note", idempotent=idempotent)
        upload = lines({"n": n, "file": str(log), "seconds": 0.05} for n in range(80))
        running = asyncio.ensure_future(batch(made.gateway, "note", upload))
        await until(log, 10)
        await kill_one(made)
        done = await running
    assert len(done.items) == 80
    assert set(done.problems.values()) <= ({"worker-lost"} if not idempotent else set())
    assert len(done.problems) <= 2  # the executors it had
    for item in done.items:
        assert "problem" in item or item["outputs"] == item["index"] ** 2


async def test_a_gateway_that_stops_ends_its_batches_for_another_one_to_go_on(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    async with rig(tmp_path, pool=pool_of(executors=2)) as made:
        gateway = made.gateway
        await gateway.create(NOTE, "note")
        upload = lines({"n": n, "file": str(log), "seconds": 0.05} for n in range(400))
        async with gateway.http.post(
            f"{gateway.base}/programs/note/map", data=upload, headers=NDJSON
        ) as answer:
            first = await answer.content.readline()
            stopping = asyncio.ensure_future(gateway.stop())
            done = told(first + await answer.read())
        assert await stopping == 0
    assert done.end["problem"]["type"] == "no-worker"
    assert "the gateway is stopping" in done.end["problem"]["detail"]
    assert 0 < done.end["succeeded"] == len(done.items) < 400
    assert log.read_text().count("begun") == len(done.items)


async def test_a_gateway_that_stops_answers_what_it_has_read(tmp_path: Path) -> None:
    async with rig(tmp_path, pool=pool_of(executors=2)) as made:
        gateway = made.gateway
        await gateway.create(SLEEP, "sleep")
        upload = lines({"n": n, "seconds": 0.01 if n == 0 else 1.0} for n in range(3))
        async with gateway.http.post(
            f"{gateway.base}/programs/sleep/map", data=upload, headers=NDJSON
        ) as answer:
            first = await answer.content.readline()
            stopping = asyncio.ensure_future(gateway.stop())
            done = told(first + await answer.read())
        assert await stopping == 0
    assert done.outputs == [0, 1, 2]
    assert "problem" not in done.end


async def test_the_client_goes_on_at_another_gateway(tmp_path: Path) -> None:
    """Both are behind one address, as they are behind a Service."""
    log = tmp_path / "log"
    async with rig(tmp_path, pool=pool_of(executors=2), gateways=2) as made:
        first, second = made.gateways
        await first.create(NOTE, "note")
        inputs = ({"n": n, "file": str(log), "seconds": 0.02} for n in range(200))
        async with _in_front(first, second) as url, AsyncClient(url) as client:
            found = []
            async for item in client.map("note", inputs):
                found.append(item.outputs)
                if len(found) == 20:
                    stopping = asyncio.ensure_future(first.stop())
        assert await stopping == 0
    assert found == [n * n for n in range(200)]
    for word in ("begun", "done"):
        assert log.read_text().count(word) == 200


@asynccontextmanager
async def _in_front(*gateways: Gateway) -> AsyncIterator[str]:
    """A door to the first of them that still listens."""
    open_now: set[asyncio.StreamWriter] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.add(writer)
        for gateway in gateways:
            try:
                there, back = await asyncio.open_connection(*gateway.url[7:].split(":"))
            except ConnectionError:
                continue
            open_now.add(back)
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
            return
        writer.transport.abort()

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in open_now:
            writer.transport.abort()
        await server.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(64 * 1024):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    writer.transport.abort()


async def test_a_batch_begun_on_a_gateway_that_stops_is_served_as_any_call_is(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path, options=("--linger-seconds", "60")) as made:
        gateway = made.gateway
        await gateway.create(SLEEP, "sleep")
        gateway.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            while (await gateway.ask("GET", "//readyz")).status == 200:
                await asyncio.sleep(0.02)
        done = await batch(gateway, "sleep", lines({"n": n} for n in range(5)))
        assert done.outputs == list(range(5))
        assert "problem" not in done.end
        gateway.process.send_signal(signal.SIGTERM)  # it lingers no longer
