"""One gateway's WebSocket: what it asks goes to the worker, what the worker answers goes back.

Answers of one turn of the loop travel in one message. A gateway that does not read stops being
read from, and nothing that happens on one link reaches another.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from typing import Protocol

from aiohttp import WSCloseCode, WSMsgType, web

from anypod.wire import codec
from anypod.wire.messages import (
    PROTOCOL,
    Cancel,
    Check,
    Checked,
    Chunk,
    Credit,
    EndSession,
    Execute,
    GatewayHello,
    Log,
    Message,
    Program,
    Result,
    SessionState,
    StoreSeen,
    ToWorker,
    Verdict,
    WorkerHello,
)
from anypod_worker import failures, logs
from anypod_worker.execution import Execution
from anypod_worker.work import Work

HELLO_SECONDS = 10.0
HEARTBEAT_SECONDS = 15.0
CLOSE_SECONDS = 1.0
FEW_UNSENT = 3
MAX_UNSENT = 4096
MAX_UNSENT_BYTES = 32 * 1024 * 1024
"""What may wait for the gateway to read before it is read from no more."""

_BEGINNINGS = (Execute, Check)
_CONTINUATIONS = (Credit, Cancel, Program, SessionState)


class Worker(Protocol):
    """Whom a link serves."""

    def hello(self) -> WorkerHello: ...
    def welcome(self, link: "Link") -> None: ...
    def execute(self, link: "Link", message: Execute) -> Work | None: ...
    def check(self, link: "Link", message: Check) -> Work | None: ...
    def program(self, message: Program) -> None: ...
    def verdict(self, message: Verdict) -> None: ...
    def end_session(self, message: EndSession) -> None: ...
    def store_seen(self, link: "Link", message: StoreSeen) -> None: ...
    def farewell(self, link: "Link") -> None: ...
    def ended(self) -> None: ...


class Link:
    def __init__(self, socket: web.WebSocketResponse, worker: Worker, room: int) -> None:
        """``room``: of a gateway that does not say it."""
        self.gateway = "?"
        self.room = room
        """The largest message that the gateway takes: a larger one would break the link."""
        self._socket = socket
        self._worker = worker
        self._work: dict[str, Work] = {}
        self._unsent: list[Message] = []
        self._sending: list[Message] = []
        self._closed = False
        self._wake: asyncio.Future[None] | None = None
        """What the writer waits for when there is nothing to send."""
        self._drained = asyncio.Event()
        self._drained.set()

    def send(self, message: Message) -> None:
        if self._closed:
            return
        self._unsent.append(message)
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def ended(self, work: Work) -> None:
        self._work.pop(work.id, None)
        self._worker.ended()

    @property
    def is_working(self) -> bool:
        return bool(self._work)

    def stop_all(self, why: str) -> None:
        for work in list(self._work.values()):
            work.stop_at_once(why)

    async def serve(self) -> None:
        """Until either side closes."""
        self.send(self._worker.hello())
        writer = asyncio.create_task(self._write())
        try:
            await self._read_hello()
            self._worker.welcome(self)
            await self._read()
        except codec.BadMessage as error:
            logs.event(logging.WARNING, "bad message", gateway=self.gateway, why=str(error)[:200])
            await self._socket.close(code=codec.CLOSE_PROTOCOL, message=_reason(str(error)))
        except (TimeoutError, ConnectionError) as error:
            logs.event(logging.INFO, "link broke", gateway=self.gateway, why=repr(error))
        finally:
            self._closed = True
            writer.cancel()
            self._worker.farewell(self)
            for work in list(self._work.values()):
                work.stop(failures.CANCELLED)
            await asyncio.gather(writer, return_exceptions=True)

    # writing

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                if not self._unsent:
                    self._drained.set()
                    self._wake = loop.create_future()
                    await self._wake
                self._sending, self._unsent = self._unsent, []
                for batch in _batches(self._sending):
                    for data in self._encoded(batch):
                        await self._socket.send_bytes(data)
                self._sending = []
        except ConnectionError as error:
            logs.event(logging.INFO, "link broke", gateway=self.gateway, why=repr(error))
        finally:
            self._closed = True
            self._drained.set()

    def _encoded(self, batch: list[Message]) -> Iterable[bytes]:
        """In one piece if the gateway takes that, else one by one."""
        data = codec.encode(batch)
        if len(data) <= self.room:
            yield data
            return
        for message in batch:
            data = codec.encode([message])
            if len(data) <= self.room:
                yield data
            else:  # what is large has been looked at before; this one is not worth the others
                logs.event(
                    logging.ERROR,
                    "a message is larger than the gateway takes",
                    gateway=self.gateway,
                    message=type(message).__name__,
                    bytes=len(data),
                )

    def _is_far_behind(self) -> bool:
        waiting = self._sending + self._unsent
        if len(waiting) < FEW_UNSENT:
            return False
        return len(waiting) > MAX_UNSENT or sum(map(_weight, waiting)) > MAX_UNSENT_BYTES

    async def close(self, reason: str) -> None:
        """After what was said before has been sent, if the gateway reads it. The code says whether
        all that was taken has been answered, which nothing may be added to any more."""
        code: int = WSCloseCode.GOING_AWAY
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._all_sent()
            if not self.is_working:
                code = codec.CLOSE_DRAINED
        self._closed = True
        await self._socket.close(code=code, message=_reason(reason))

    async def _all_sent(self) -> None:
        while self._unsent or self._sending:
            self._drained.clear()
            await self._drained.wait()

    # reading

    async def _read_hello(self) -> None:
        async with asyncio.timeout(HELLO_SECONDS):
            message = await self._socket.receive()
        if message.type is not WSMsgType.BINARY:
            raise codec.BadMessage("the first message is not a hello")
        batch = codec.decode_for_worker(message.data)
        hello = batch[0] if batch else None
        if not isinstance(hello, GatewayHello):
            raise codec.BadMessage("the first message is not a hello")
        if hello.protocol != PROTOCOL:
            raise codec.BadMessage(f"speaks protocol {hello.protocol}, this worker {PROTOCOL}")
        self.gateway = hello.gateway
        self.room = hello.max_message_bytes or self.room
        for early in batch[1:]:
            self._take_in(early)

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type is not WSMsgType.BINARY:
                raise codec.BadMessage(f"a {message.type.name} message")
            for each in codec.decode_for_worker(message.data):
                self._take_in(each)
            if self._is_far_behind():
                self._drained.clear()
                await self._drained.wait()

    def _take_in(self, message: ToWorker) -> None:
        if isinstance(message, _BEGINNINGS):
            self._start(message)
        elif isinstance(message, _CONTINUATIONS):
            self._continue(message)
        elif isinstance(message, Verdict):
            self._worker.verdict(message)
        elif isinstance(message, EndSession):
            self._worker.end_session(message)
        elif isinstance(message, StoreSeen):
            self._worker.store_seen(self, message)
        else:
            raise codec.BadMessage("a second hello")

    def _start(self, message: Execute | Check) -> None:
        if message.id in self._work:
            raise codec.BadMessage(f"{message.id} runs already")
        if isinstance(message, Execute):
            work = self._worker.execute(self, message)
        else:
            work = self._worker.check(self, message)
        if work is not None and not work.ended:
            self._work[message.id] = work

    def _continue(self, message: Credit | Cancel | Program | SessionState) -> None:
        """The execution may have ended meanwhile; then there is nothing to continue."""
        if isinstance(message, Program):
            self._worker.program(message)
        work = self._work.get(message.id)
        if isinstance(message, Cancel):
            if work is not None:
                work.stop(failures.CANCELLED)
        elif isinstance(work, Execution):
            if isinstance(message, Credit):
                work.credit(message.bytes)
            elif isinstance(message, Program):
                work.give_program(message.code)
            else:
                work.give_state(message)


def _batches(messages: list[Message]) -> Iterable[list[Message]]:
    if len(messages) == 1:
        yield messages
        return
    batch: list[Message] = []
    size = 0
    for message in messages:
        batch.append(message)
        size += _weight(message)
        if size >= codec.BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _weight(message: Message) -> int:
    if isinstance(message, Result):
        return 256 + len(message.outputs or b"") + len(message.state or b"")
    if isinstance(message, Chunk):
        return 64 + len(message.data)
    if isinstance(message, Checked):
        return 256 + len(message.inputs_schema or b"") + len(message.outputs_schema or b"")
    return 4 * len(message.text) if isinstance(message, Log) else 256


def _reason(text: str) -> bytes:
    """A close frame carries 123 bytes."""
    return text.encode()[:120].decode(errors="ignore").encode()
