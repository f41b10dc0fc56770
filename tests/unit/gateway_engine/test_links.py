"""One link per worker: greeted, batched, given up when silent, cut by nothing a client does."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from tests.support.scripted_worker import ScriptedWorker, load, scripted_worker

from anypod.wire import codec
from anypod.wire.messages import (
    Cancel,
    Code,
    Execute,
    Load,
    Message,
    Program,
    ToGateway,
    WorkerHello,
)
from anypod_gateway import links
from anypod_gateway.links import Identity, Link, Target

PATIENCE = 20.0


class Peer:
    def __init__(self) -> None:
        self.hellos: list[WorkerHello] = []
        self.taken: list[ToGateway] = []
        self.refused: list[Message] = []
        self.limits: list[int | None] = []
        """By which the same were refused."""
        self.losses: list[Sequence[Message]] = []
        self.raises: Exception | None = None
        self.news = asyncio.Condition()

    def greeted(self, hello: WorkerHello) -> None:
        self.hellos.append(hello)
        self._tell()

    def take(self, batch: list[ToGateway]) -> None:
        if batch and self.raises is not None:
            raise self.raises
        self.taken += batch
        self._tell()

    def unsendable(self, message: Message, limit: int | None = None) -> None:
        self.refused.append(message)
        self.limits.append(limit)
        self._tell()

    def lost(self, unsent: Sequence[Message], **_: bool) -> None:
        self.losses.append(unsent)
        self._tell()

    def _tell(self) -> None:
        async def tell() -> None:
            async with self.news:
                self.news.notify_all()

        self.telling = asyncio.ensure_future(tell())

    async def until_up(self, times: int = 1) -> None:
        await self._until(lambda: len(self.hellos) >= times and bool(self.taken))

    async def until_lost(self, times: int = 1) -> None:
        await self._until(lambda: len(self.losses) >= times)

    async def until_refused(self) -> None:
        await self._until(lambda: bool(self.refused))

    async def _until(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE), self.news:
            await self.news.wait_for(what)


@asynccontextmanager
async def linked(worker: ScriptedWorker, *, up: bool = True) -> AsyncIterator[tuple[Link, Peer]]:
    peer = Peer()
    target = Target("pool", "w1", "127.0.0.1", worker.port, codec.max_message_bytes(1024))
    async with links.open_http() as http:
        link = Link(target, Identity("g1", "test", "secret"), http, peer)
        link.is_expected = True
        link.start()
        try:
            if up:
                await peer.until_up()
            yield link, peer
        finally:
            await link.close()


def execute(id_: str, inputs: bytes = b"{}") -> Execute:
    return Execute(id=id_, program="p", revision="r", inputs=inputs, timeout=1)


async def test_a_link_greets_with_the_secret_and_knows_the_worker() -> None:
    async with scripted_worker() as worker, linked(worker) as (link, peer):
        assert link.is_up
        assert worker.handshakes[0][codec.TOKEN_HEADER] == "secret"
        assert peer.hellos[0].instance == worker.instance
        assert isinstance(peer.taken[0], Load)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_worker_sends_the_gateway_elsewhere(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with scripted_worker() as elsewhere, scripted_worker() as worker:
        worker.redirects = (status, f"http://127.0.0.1:{elsewhere.port}{codec.LINK_PATH}")
        async with linked(worker, up=False):
            async with asyncio.timeout(PATIENCE):
                while "redirect" not in caplog.text and not elsewhere.handshakes:
                    await asyncio.sleep(0.01)
        assert not elsewhere.handshakes


async def test_what_one_turn_says_travels_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted_worker() as worker, linked(worker) as (link, _):
        await worker.until(lambda: worker.greetings)
        batches: list[int] = []
        decode = codec.decode_for_worker

        def counted(data: bytes) -> list[object]:
            batch = decode(data)
            batches.append(len(batch))
            return list(batch)

        monkeypatch.setattr(codec, "decode_for_worker", counted)
        for number in range(50):
            link.send(Cancel(str(number)))
        await worker.until(lambda: len(worker.received) == 50)
        assert [message.id for message in worker.received] == [str(n) for n in range(50)]
        assert batches == [50]


async def test_large_messages_do_not_travel_together(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted_worker() as worker, linked(worker) as (link, _):
        sizes: list[int] = []
        decode = codec.decode_for_worker

        def counted(data: bytes) -> list[object]:
            sizes.append(len(data))
            return list(decode(data))

        await worker.until(lambda: worker.greetings)
        monkeypatch.setattr(codec, "decode_for_worker", counted)
        for number in range(8):
            link.send(execute(str(number), b" " * 100_000))
        await worker.until(lambda: len(worker.received) == 8)
        assert max(sizes) < codec.BATCH_BYTES + 100_000 + 1000
        assert [message.id for message in worker.received] == [str(n) for n in range(8)]


async def test_a_broken_link_is_made_anew_and_says_what_was_never_sent() -> None:
    async with scripted_worker() as worker, linked(worker) as (link, peer):
        worker.reads.clear()
        for number in range(30):  # more than what lies in sockets between the two
            link.send(execute(str(number), b" " * 1_000_000))
        await asyncio.sleep(0.1)
        worker.drop()
        await peer.until_lost()
        worker.reads.set()
        unsent = [message.id for message in peer.losses[0] if isinstance(message, Execute)]
        assert 0 < len(unsent) < 30
        assert unsent == [str(number) for number in range(30 - len(unsent), 30)]
        await peer.until_up(2)
        worker.received.clear()
        link.send(execute("again"))
        assert (await worker.next(Execute)).id == "again"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"pool": "other"}, "of pool other"),
        ({"worker": "w9"}, "there is w9"),
        ({"protocol": 99}, "protocol 99"),
        ({"executors": 10_000}, "executors"),
        ({"max_sessions": -1}, "max_sessions"),
    ],
)
async def test_another_worker_than_expected_is_not_linked(
    changes: dict[str, object], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with scripted_worker(**changes) as worker, linked(worker, up=False) as (link, peer):  # type: ignore[arg-type]
        await worker.until(lambda: len(worker.close_codes) >= 2)
        assert not link.is_up
        assert peer.hellos == []
        assert worker.close_codes[0] == codec.CLOSE_PROTOCOL
        warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
        assert len(warnings) == 1
        assert why in warnings[0].getMessage()


async def test_a_worker_without_a_hello_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "HELLO_SECONDS", 0.1)
    async with scripted_worker() as worker:
        worker.speaks = False
        async with linked(worker, up=False) as (link, peer):
            await worker.until(lambda: len(worker.handshakes) >= 2)
            assert not link.is_up
            worker.speaks = True
            await peer.until_up()


@pytest.mark.parametrize(
    "rubbish",
    [
        *(b"\xc1", b"", b"\x91\x01", codec.encode([Cancel("x")])),
        codec.encode([load(busy=-1)]),
        codec.encode([load(restarts={f"made-up-{number}": 1 for number in range(100)})]),
        codec.encode([load(restarts={"long" * 1000: 1})]),
    ],
)
async def test_a_bad_message_costs_the_worker_its_link_and_nothing_else(rubbish: bytes) -> None:
    async with (
        scripted_worker() as bad,
        scripted_worker() as good,
        linked(bad) as (_, bad_peer),
        linked(good) as (good_link, good_peer),
    ):
        await bad.send_bytes(rubbish)
        await bad_peer.until_lost()
        await bad.until(lambda: bad.close_codes)
        assert bad.close_codes == [codec.CLOSE_PROTOCOL]
        assert good_link.is_up
        assert good_peer.losses == []


async def test_a_fault_in_what_is_done_with_a_message_costs_one_link_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with scripted_worker() as worker, linked(worker) as (_, peer):
        peer.raises = KeyError("a bug")
        await worker.send(Load(True, False, 0, 1, 0, 0, {}))
        await peer.until_lost()
        peer.raises = None
        await peer.until_up(2)
    assert any(record.exc_info for record in caplog.records)


async def test_text_that_cannot_be_encoded_harms_only_its_own_message() -> None:
    odd = Program("odd", "r", Code("python", {"main.py": "\ud800"}, "main:main"))
    async with scripted_worker() as worker, linked(worker) as (link, peer):
        link.send(execute("before"))
        link.send(odd)
        link.send(execute("after"))
        assert (await worker.next(Execute)).id == "before"
        assert (await worker.next(Execute)).id == "after"
        await peer.until_refused()
        assert peer.refused == [odd]
        assert link.is_up


@pytest.mark.parametrize("told", [0, 500_000])
async def test_a_message_above_what_the_worker_takes_harms_only_itself(told: int) -> None:
    """0: a worker of a version that says only how large bodies may be."""
    hello = {"max_body_bytes": 1024, "max_message_bytes": told}
    takes = told or codec.untold_message_bytes(1024)
    async with scripted_worker(**hello) as worker, linked(worker) as (link, peer):
        link.send(execute("before"))
        link.send(execute("large", b" " * takes))
        link.send(execute("after"))
        assert (await worker.next(Execute)).id == "before"
        assert (await worker.next(Execute)).id == "after"
        assert [message.id for message in peer.refused if isinstance(message, Execute)] == ["large"]
        assert peer.limits == [takes]
        assert link.is_up
        assert worker.greetings[0].max_message_bytes == codec.max_message_bytes(1024)


async def test_what_is_too_large_together_travels_apart() -> None:
    size = codec.untold_message_bytes(0) // 2
    async with scripted_worker(max_body_bytes=0) as worker, linked(worker) as (link, peer):
        files = {"main.py": "\u20ac" * (size // 3)}  # its weight is by characters
        for number in range(3):
            link.send(Program(str(number), "r", Code("python", files, "main:main")))
        for number in range(3):
            assert (await worker.next(Program)).id == str(number)
        assert peer.refused == []


async def test_a_silent_worker_is_pinged_then_given_up() -> None:
    async with scripted_worker() as worker, linked(worker) as (link, peer):
        for _ in range(links.TICKS_TO_LOSE - 1):
            link.tick()
        await asyncio.sleep(0)
        for _ in range(100):  # the pong comes back and the count begins again
            await asyncio.sleep(0.01)
            if link._silent_ticks == 0:
                break
        assert link._silent_ticks == 0
        assert link.is_up
        for _ in range(links.TICKS_TO_LOSE):
            link.tick()
        await peer.until_lost()
        assert not link.is_up
        await peer.until_up(2)


async def test_where_nothing_listens_is_told_from_where_nothing_answers() -> None:
    async with scripted_worker() as worker:
        pass  # its port is closed again
    async with linked(worker, up=False) as (link, _):
        async with asyncio.timeout(PATIENCE):
            while not link.is_refused:
                await asyncio.sleep(0.01)
        async with scripted_worker(port=worker.port) as back:
            await back.until(lambda: back.handshakes)
            async with asyncio.timeout(PATIENCE):
                while link.is_refused:
                    await asyncio.sleep(0.01)
