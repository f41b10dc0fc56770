"""Gateways share a worker; nothing that one does reaches another."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from tests.support import process_tree
from tests.support.worker import (
    TOKEN,
    Gateway,
    Worker,
    code_of,
    linked,
    revision_of,
    started_worker,
    worker_config,
)

from anypod.wire import codec
from anypod.wire.config import Limits
from anypod.wire.messages import (
    PROTOCOL,
    Cancel,
    Check,
    Checked,
    Credit,
    Execute,
    GatewayHello,
    NeedProgram,
    Program,
    Refused,
    Result,
    SessionRef,
    SessionState,
    Verdict,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADD = "def main(x: int): return x + 1"
TOO_BIG = {aiohttp.WSCloseCode.MESSAGE_TOO_BIG, aiohttp.WSCloseCode.ABNORMAL_CLOSURE}
"""Without a code where the rest of the message was still under way."""
WAIT = """
import pathlib, time
def main(end: str):
    while not pathlib.Path(end).exists():
        time.sleep(0.01)
    return "ended"
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker() -> AsyncIterator[Worker]:
    config = worker_config(executors=2, limits=Limits(output_bytes=1024 * 1024))
    async with started_worker(config) as worker:
        yield worker


@pytest_asyncio.fixture(loop_scope="module")
async def gateway(worker: Worker) -> AsyncIterator[Gateway]:
    async with linked(worker) as gateway:
        yield gateway


async def test_the_hello_says_who_it_is(worker: Worker, gateway: Gateway) -> None:
    hello = gateway.hello
    assert hello is not None
    assert (hello.worker, hello.pool, hello.protocol) == ("w1", "pool", PROTOCOL)
    assert (hello.executors, hello.max_body_bytes) == (2, 1024 * 1024)
    async with linked(worker, "g2") as other:
        assert other.hello is not None
        assert other.hello.instance == hello.instance


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", "é"])
async def test_a_wrong_token_is_refused(worker: Worker, token: str) -> None:
    headers = {codec.TOKEN_HEADER: token} if token else {}
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(worker.url + codec.LINK_PATH, headers=headers) as socket,
    ):
        message = await socket.receive(timeout=10)
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == codec.CLOSE_UNAUTHENTICATED


GARBAGE = {
    "not MessagePack": b"\xff\x00 nonsense",
    "another type": codec.encode([]) + b"\x01",
    "an unknown kind": b"\x91\x81\xa1t\xa3who",
    "a message of the other direction": codec.encode([Result("x", 0.0)]),
    "deeply nested": b"\x91" * 100_000,
    "a second hello": codec.encode([GatewayHello("g", "1")]),
    "text for a number": b"\x91\x83\xa1t\xa6credit\xa2id\xa1x\xa5bytes\xa1y",
}


@pytest.mark.parametrize("what", GARBAGE)
async def test_garbage_costs_its_own_link_only(
    what: str, worker: Worker, gateway: Gateway, tmp_path: Path
) -> None:
    running = await gateway.begin(WAIT, {"end": str(tmp_path / "end")})
    async with linked(worker, "g2") as other:
        await other.send_bytes(GARBAGE[what])
        await other.until(lambda: other.close_code == codec.CLOSE_PROTOCOL)
    (tmp_path / "end").touch()
    assert (await gateway.end(running)).outputs == "ended"
    assert (await gateway.run(ADD, {"x": 1})).outputs == 2


async def test_text_is_garbage_too(worker: Worker, gateway: Gateway) -> None:
    async with linked(worker, "g2") as other:
        await other._socket.send_str("hello")
        await other.until(lambda: other.close_code == codec.CLOSE_PROTOCOL)
    assert (await gateway.run(ADD, {"x": 1})).outputs == 2


async def test_a_message_above_the_limit_costs_its_own_link(
    worker: Worker, gateway: Gateway
) -> None:
    async with linked(worker, "g2") as other:
        with contextlib.suppress(ConnectionError):
            await other.send_bytes(b"x" * (codec.max_message_bytes(1024 * 1024) + 1))
        await other.until(lambda: other.close_code in TOO_BIG)
    assert (await gateway.run(ADD, {"x": 1})).outputs == 2


@pytest.mark.parametrize(
    "first",
    [
        codec.encode([Execute("x", "", "r", b"{}", 1.0)]),
        codec.encode([]),
        codec.encode([GatewayHello("g", "1", protocol=PROTOCOL + 1)]),
    ],
    ids=["no hello", "nothing", "another protocol"],
)
async def test_who_does_not_greet_is_not_served(worker: Worker, first: bytes) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(
            worker.url + codec.LINK_PATH, headers={codec.TOKEN_HEADER: TOKEN}
        ) as socket,
    ):
        await socket.send_bytes(first)
        while (message := await socket.receive(timeout=10)).type is aiohttp.WSMsgType.BINARY:
            pass
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == codec.CLOSE_PROTOCOL


async def test_an_id_that_runs_already_is_a_bad_message(worker: Worker, gateway: Gateway) -> None:
    async with linked(worker, "g2") as other:
        id_ = await other.begin("import time\ndef main(): time.sleep(30)")
        await other.send(Execute(id_, "", "r", b"{}", 1.0))
        await other.until(lambda: other.close_code == codec.CLOSE_PROTOCOL)
    await worker.until_idle(2)


async def test_what_is_said_of_unknown_executions_is_nothing(gateway: Gateway) -> None:
    await gateway.send(
        Cancel("x"),
        Credit("x", 5),
        Program("x", "some-revision", code_of(ADD)),
        SessionState("x", b"{}", 1),
        Verdict("s", 1, True, 1),
    )
    assert (await gateway.run(ADD, {"x": 1})).outputs == 2


async def test_a_broken_link_cancels_its_executions(worker: Worker, gateway: Gateway) -> None:
    async with linked(worker, "g2") as other:
        for _ in range(2):
            await other.begin("import time\ndef main(): time.sleep(60)")
        await gateway.until(lambda: gateway.load.idle == 0)
        other.break_off()
        await worker.until_idle(2)
    assert (await gateway.run(ADD, {"x": 1})).outputs == 2


async def test_two_gateways_share_the_executors(worker: Worker, gateway: Gateway) -> None:
    async with linked(worker, "g2") as other:
        answers = await asyncio.gather(
            *(_until_it_runs(g, x) for x in range(100) for g in (gateway, other))
        )
    assert sorted(answers) == sorted([x + 1 for x in range(100)] * 2)


async def _until_it_runs(gateway: Gateway, x: int) -> int:
    """As a gateway does that has lost a slot to another."""
    while True:
        answer = await gateway.run(ADD, {"x": x})
        if answer.refused is None:
            return int(answer.outputs)
        assert answer.refused.reason == "full"


async def test_more_than_it_can_do_is_refused(
    worker: Worker, gateway: Gateway, tmp_path: Path
) -> None:
    await worker.until_idle(2)
    running = [await gateway.begin(WAIT, {"end": str(tmp_path / "end")}) for _ in range(2)]
    third = await gateway.run(ADD, {"x": 1})
    assert third.refused is not None
    assert third.refused.reason == "full"
    (tmp_path / "end").touch()
    assert [(await gateway.end(id_)).outputs for id_ in running] == ["ended"] * 2


async def test_a_hundred_cancels_just_after_dispatch_free_all_slots(
    worker: Worker, gateway: Gateway
) -> None:
    source = "import time\ndef main(): time.sleep(60)"
    for number in range(100):
        id_ = await gateway.begin(source)
        if number % 3:
            await asyncio.sleep(0.001 * (number % 5))
        await gateway.cancel(id_)
        answer = await gateway.end(id_)
        assert answer.refused is not None or answer.failure.detail == "the execution was cancelled"
    await worker.until_idle(2)
    assert (await gateway.run(ADD, {"x": 1})).outputs == 2
    killed = {"cancelled", "deadline"} & gateway.load.restarts.keys()
    assert not killed, "an interrupt is enough for a program that sleeps"


async def test_a_cancel_in_the_same_message_frees_the_slot(
    worker: Worker, gateway: Gateway
) -> None:
    source = "import time\ndef main(): time.sleep(60)"
    code = code_of(source)
    known = await gateway.begin(source)
    await gateway.cancel(known)
    await gateway.end(known)
    for number in range(20):
        new = code_of(f"{source} or {number}")
        await gateway.send(
            Execute(f"x-old-{number}", "", revision_of(code), b"{}", 60.0),
            Cancel(f"x-old-{number}"),
            Execute(f"x-new-{number}", "", revision_of(new), b"{}", 60.0),
            Cancel(f"x-new-{number}"),
            Check(f"c-{number}", revision_of(new), new, 60.0),
            Cancel(f"c-{number}"),
        )

    def ends() -> int:
        ids = [m.id for m in gateway.received if isinstance(m, Result | Checked | Refused)]
        return sum(id_.startswith(("x-old", "x-new", "c-")) for id_ in ids)

    await gateway.until(lambda: ends() == 60)
    await worker.until_idle(2)
    answers = await asyncio.gather(*(gateway.run(ADD, {"x": x}) for x in range(2)))
    assert [answer.outputs for answer in answers] == [1, 2]


async def test_a_program_is_asked_for_once_per_worker(worker: Worker, gateway: Gateway) -> None:
    source = "def main(): return 'asked once'"
    first = await gateway.run(source)
    async with linked(worker, "g2") as other:
        second = await other.run(source)
    assert [type(m) for m in first.asked] == [NeedProgram]
    assert second.asked == []


async def test_executions_that_need_the_same_program_at_once_all_get_it(
    worker: Worker, gateway: Gateway
) -> None:
    source = "def main(x: int): return ['wanted by two', x]"
    answers = await asyncio.gather(*(gateway.run(source, {"x": x}) for x in range(2)))
    assert [answer.outputs[1] for answer in answers] == [0, 1]


async def test_an_execution_whose_program_never_comes_ends_in_time(
    worker: Worker, gateway: Gateway
) -> None:
    revision = revision_of(code_of("def main(): return 'never sent'"))
    await gateway.send(Execute("x-lost", "", revision, b"{}", 0.2))

    def ends() -> list[Result]:
        return [m for m in gateway.received if isinstance(m, Result) and m.id == "x-lost"]

    await gateway.until(ends)
    failure = ends()[0].failure
    assert failure is not None
    assert failure.type == "deadline-exceeded"
    assert ends()[0].run_seconds == 0
    await worker.until_idle(2)


async def test_a_check_describes_the_program(gateway: Gateway) -> None:
    checked = await gateway.check('def main(x: int) -> list[int]:\n    "Adds."\n    return [x]')
    assert checked.failure is None
    assert checked.doc == "Adds."
    assert checked.inputs_schema is not None
    assert json.loads(checked.inputs_schema)["properties"]["x"]["type"] == "integer"
    assert not checked.streams


CHECKS = {
    "syntax": ("def main(:", "invalid-program"),
    "import": ("import no_such_module\ndef main(): pass", "invalid-program"),
    "no entry": ("def other(): pass", "invalid-program"),
    "exits": ("import sys\nsys.exit(3)\ndef main(): pass", "invalid-program"),
    "dies": ("import os\nos._exit(3)\ndef main(): pass", "program-exited"),
    "crashes": ("import os\nos.abort()\ndef main(): pass", "program-crashed"),
    "hangs": ("while True: pass\ndef main(): pass", "deadline-exceeded"),
}


@pytest.mark.parametrize("what", CHECKS)
async def test_a_check_of_a_bad_program_fails_and_harms_nobody(
    what: str, worker: Worker, gateway: Gateway
) -> None:
    source, type_ = CHECKS[what]
    checked = await gateway.check(source, timeout=0.5 if what == "hangs" else 20)
    assert checked.failure is not None
    assert checked.failure.type == type_
    assert (await gateway.run(ADD, {"x": 1})).outputs == 2
    assert await worker.is_ready()


async def test_checks_wait_for_a_busy_worker(
    worker: Worker, gateway: Gateway, tmp_path: Path
) -> None:
    await worker.until_idle(2)
    running = [await gateway.begin(WAIT, {"end": str(tmp_path / "end")}) for _ in range(2)]
    checks = [asyncio.create_task(gateway.check(ADD)) for _ in range(5)]
    await gateway.until(lambda: gateway.load.busy == 2)
    (tmp_path / "end").touch()
    assert [check.failure for check in await asyncio.gather(*checks)] == [None] * 5
    assert [(await gateway.end(id_)).outputs for id_ in running] == ["ended"] * 2


async def test_a_body_at_the_limit_passes_both_ways(gateway: Gateway) -> None:
    text = "x" * (1024 * 1024 - 100)
    answer = await gateway.run("def main(text: str): return text", {"text": text})
    assert answer.outputs == text


async def test_a_gateway_that_takes_less_loses_one_answer_and_no_link() -> None:
    """One of a version that does not say what it takes."""
    keep = (
        "def main(session, size=0):\n"
        "    if size:\n"
        "        session.state['text'] = 'x' * size\n"
        "    return len(session.state.get('text', ''))\n"
    )
    session = SessionRef("s", 1)
    config = worker_config(limits=Limits(output_bytes=1024))
    async with started_worker(config) as worker, linked(worker) as gateway:
        assert (await gateway.run(keep, {"size": 1000}, session=session)).outputs == 1000
        large = await gateway.run(keep, {"size": 900_000}, session=session)
        assert (large.failure.type, large.failure.path) == ("output-too-large", "session.state")
        assert (await gateway.run(keep, session=session)).outputs == 1000


async def test_what_was_printed_goes_before_the_answer_does() -> None:
    """To a gateway that takes less than the worker keeps of it, as when a pool has changed."""
    source = "def main(size): print('x' * size); return size"
    config = worker_config(limits=Limits(output_bytes=1024, log_bytes=1024 * 1024))
    async with started_worker(config) as worker, linked(worker) as gateway:
        small = GatewayHello("small", "1", max_message_bytes=codec.untold_message_bytes(1024))
        async with raw_link(worker) as socket:
            await socket.send_bytes(codec.encode([small]))
            other = Gateway(socket, "small")
            await other.until(lambda: other.loads)
            answer = await other.run(source, {"size": 900_000}, logs=True)
            assert answer.outputs == 900_000
            assert answer.result is not None
            assert answer.result.printed is not None
            assert answer.result.printed.cut_bytes > 900_000
        whole = await gateway.run(source, {"size": 900_000}, logs=True)
        assert whole.result is not None
        assert whole.result.printed is not None
        assert len(whole.result.printed.stdout) == 900_001


async def test_an_idle_executor_that_is_killed_is_replaced(
    worker: Worker, gateway: Gateway
) -> None:
    await worker.until_idle(2)
    for pid in process_tree.named(worker.pid, "anypod-executor"):
        os.kill(pid, 9)
    await gateway.until(lambda: gateway.load.restarts.get("crashed", 0) >= 2)
    await worker.until_idle(2)
    assert (await gateway.run(ADD, {"x": 1})).outputs == 2
    assert await worker.is_ready()


async def test_a_gateway_that_does_not_read_is_not_read_from(
    worker: Worker, gateway: Gateway
) -> None:
    """It asks for much more than it takes; the worker keeps a bounded part of it."""
    source = "def main(): return 'x' * 1_000_000"
    await gateway.run(source)
    before = resident(worker.pid)
    async with raw_link(worker) as socket:
        await socket.send_bytes(codec.encode([GatewayHello("deaf", "1")]))
        revision = revision_of(code_of(source))
        sending = asyncio.create_task(send_many(socket, revision, 300))
        for number in range(50):
            assert await _until_it_runs(gateway, number) == number + 1
        assert resident(worker.pid) - before < 64 * 1024 * 1024
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    await worker.until_idle(2)


@contextlib.asynccontextmanager
async def raw_link(worker: Worker) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(
            worker.url + codec.LINK_PATH, headers={codec.TOKEN_HEADER: TOKEN}
        ) as socket,
    ):
        yield socket
        assert socket._response.connection is not None
        transport = socket._response.connection.transport
        assert transport is not None
        transport.abort()


async def send_many(socket: aiohttp.ClientWebSocketResponse, revision: str, many: int) -> None:
    socket._reader._protocol.pause_reading()
    for number in range(many):
        await socket.send_bytes(codec.encode([Execute(f"x-{number}", "", revision, b"{}", 30.0)]))
        await asyncio.sleep(0.005)


def resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024
