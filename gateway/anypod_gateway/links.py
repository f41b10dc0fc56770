"""One WebSocket to one worker, kept up for as long as the worker is there.

All executions of this gateway on that worker share it. What one turn of the loop wants to say
travels in one WebSocket message. Nothing that a client does reaches this module, and what a
worker sends can at worst cost its own link.

A worker that is silent is pinged, then given up. Silence is counted in calls of ``tick``, so a
stall of this process is not taken for one of the worker.
"""

import asyncio
import errno
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp
from aiohttp import ClientWebSocketResponse, ClientWSTimeout, WSMsgType

from anypod.store.outage import Outage
from anypod.wire import codec
from anypod.wire.messages import PROTOCOL, GatewayHello, Message, ToGateway, WorkerHello
from anypod_gateway.batches import Unsent

log = logging.getLogger(__name__)

CONNECT_SECONDS = 3.0
HELLO_SECONDS = 5.0
CLOSE_SECONDS = 1.0
TICK_SECONDS = 0.5
"""How often ``tick`` is to be called."""
TICKS_TO_PING = 2
TICKS_TO_LOSE = 10
TICKS_TO_TRUST = 3
"""A link that has lasted this long was well; the next one is tried at once."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this gateway is to workers."""

    gateway: str
    version: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    pool: str
    worker: str
    host: str
    port: int
    max_message_bytes: int
    """That is taken from it."""
    called: str = ""
    """The pool as callers name it, if that is not ``pool``."""

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ws://{host}:{self.port}{codec.LINK_PATH}"


class Peer(Protocol):
    """Whom a link serves. What a method raises costs the link, and nothing else."""

    def greeted(self, hello: WorkerHello) -> None:
        """The link is up."""

    def take(self, batch: list[ToGateway]) -> None:
        """Raises BadMessage for what the worker must not say."""

    def unsendable(self, message: Message, limit: int | None = None) -> None:
        """It has no encoding, or more than the ``limit`` of bytes that the worker takes; nothing
        else is harmed."""

    def lost(self, unsent: Sequence[Message], *, all_answered: bool) -> None:
        """The link is down; these messages never left this process. ``all_answered``: the worker
        has answered whatever it took, so what has no answer was not taken."""


class LinkEnded(Exception):
    """Why a link is down; ``code`` is what the worker is told when it was our decision."""

    def __init__(self, reason: str, code: int = aiohttp.WSCloseCode.GOING_AWAY) -> None:
        super().__init__(reason)
        self.code = code


async def _stay(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """A worker that answers with a redirect would choose what its gateway asks for, and of whom."""
    answer = await send(request)
    if 300 <= answer.status < 400:
        answer.close()
        raise LinkEnded(f"it answers with a redirect: status {answer.status}")
    return answer


def open_http() -> aiohttp.ClientSession:
    """For links to any number of workers."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), middlewares=(_stay,))


class Link:
    def __init__(
        self, target: Target, identity: Identity, http: aiohttp.ClientSession, peer: Peer
    ) -> None:
        self.is_up = False
        self.is_refused = False
        """Nothing listened there when it was last tried."""
        self.is_expected = False
        """The worker is said to be ready: that there is no link is worth a log line."""
        self._target = target
        self._identity = identity
        self._http = http
        self._peer = peer
        self._unsent = Unsent()
        self._room = 0
        """The largest message that the worker takes: a larger one would break the link."""
        self._silent_ticks = 0
        self._up_ticks = 0
        self._task: asyncio.Task[None] | None = None
        self._cut: asyncio.Future[None] | None = None
        self._outage = Outage(
            log, f"link to {target.worker} of pool {target.called or target.pool}"
        )

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep_up())
        self._task.add_done_callback(_tell_failure)

    async def close(self) -> None:
        """The peer is told of what it loses."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def send(self, message: Message) -> None:
        """If the link is up; what it could not tell the worker, the peer learns by ``lost``."""
        if self.is_up:
            self._unsent.add(message)

    def withdraw(self, id_: str) -> bool:
        """Whether an execution or check that was to be sent has not been, and will not be."""
        return self._unsent.withdraw(id_)

    def tick(self) -> None:
        if not self.is_up:
            return
        self._up_ticks += 1
        if self._up_ticks == TICKS_TO_TRUST:
            self._outage.over()
        self._silent_ticks += 1
        if self._silent_ticks >= TICKS_TO_LOSE:
            if self._cut is not None and not self._cut.done():
                self._cut.set_result(None)
        elif self._silent_ticks >= TICKS_TO_PING:
            self._unsent.ask_ping()

    async def _keep_up(self) -> None:
        while True:
            try:
                await self._serve_once()
            except (aiohttp.ClientError, OSError, TimeoutError, LinkEnded) as error:
                self.is_refused = _is_refusal(error)
                if self.is_expected:
                    self._outage.failed(str(error) or type(error).__name__)
            except Exception:
                log.exception("the link to worker %s failed", self._target.worker)
            await self._outage.pause()

    async def _serve_once(self) -> None:
        async with asyncio.timeout(CONNECT_SECONDS):
            socket = await self._http.ws_connect(
                self._target.url,
                headers={codec.TOKEN_HEADER: self._identity.token},
                timeout=ClientWSTimeout(ws_close=CLOSE_SECONDS),
                autoping=False,  # what answers a ping is a sign of life that has to be seen
                max_msg_size=self._target.max_message_bytes,
            )
        code = int(aiohttp.WSCloseCode.GOING_AWAY)
        try:
            batch = await self._exchange_hellos(socket)
            await self._serve(socket, batch)
        except LinkEnded as ended:
            code = ended.code
            raise
        finally:
            await _close(socket, code)

    async def _exchange_hellos(self, socket: ClientWebSocketResponse) -> list[ToGateway]:
        hello = GatewayHello(
            self._identity.gateway,
            self._identity.version,
            max_message_bytes=self._target.max_message_bytes,
        )
        async with asyncio.timeout(HELLO_SECONDS):
            await socket.send_bytes(codec.encode([hello]))
            message = await socket.receive()
        if message.type is not WSMsgType.BINARY:
            raise LinkEnded(f"no hello came: {_why_closed(socket)}")
        batch = _decode(message.data)
        theirs = batch[0] if batch else None
        if not isinstance(theirs, WorkerHello):
            raise LinkEnded("the first message is not a hello", codec.CLOSE_PROTOCOL)
        if theirs.protocol != PROTOCOL:
            raise LinkEnded(
                f"the worker speaks protocol {theirs.protocol}, this gateway {PROTOCOL}",
                codec.CLOSE_PROTOCOL,
            )
        if (theirs.pool, theirs.worker) != (self._target.pool, self._target.worker):
            raise LinkEnded(
                f"there is {theirs.worker} of pool {theirs.pool} at this address",
                codec.CLOSE_PROTOCOL,
            )
        return batch

    async def _serve(self, socket: ClientWebSocketResponse, batch: list[ToGateway]) -> None:
        loop = asyncio.get_running_loop()
        self._cut = loop.create_future()
        hello, *rest = batch
        assert isinstance(hello, WorkerHello)
        self._silent_ticks = self._up_ticks = 0
        told = hello.max_message_bytes
        self._room = told or codec.untold_message_bytes(hello.max_body_bytes)
        self.is_up, self.is_refused = True, False
        parts: list[asyncio.Future[None]] = []
        try:
            self._peer.greeted(hello)
            self._peer.take(rest)
            parts = [
                loop.create_task(self._read(socket)),
                loop.create_task(self._write(socket)),
                self._cut,
            ]
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            if self._cut.done():
                raise LinkEnded("the worker is silent")
            for part in parts:
                if part.done():
                    part.result()
        finally:
            self.is_up = False
            all_answered = socket.close_code == codec.CLOSE_DRAINED
            self._peer.lost(self._unsent.clear(), all_answered=all_answered)
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    async def _read(self, socket: ClientWebSocketResponse) -> None:
        while True:
            message = await socket.receive()
            self._silent_ticks = 0
            if message.type is WSMsgType.BINARY:
                self._take(message.data)
            elif message.type is WSMsgType.PING:
                await socket.pong(message.data)
            elif message.type is not WSMsgType.PONG:
                raise LinkEnded(f"the worker ended it: {_why_closed(socket)}")

    def _take(self, data: bytes) -> None:
        batch = _decode(data)
        try:
            self._peer.take(batch)
        except codec.BadMessage as error:
            raise _bad(error) from error

    async def _write(self, socket: ClientWebSocketResponse) -> None:
        unsent = self._unsent
        while True:
            await unsent.wait()
            if unsent.take_ping():
                await socket.ping()
            while batch := unsent.take():
                for data in self._encoded(batch):
                    await socket.send_bytes(data)

    def _encoded(self, batch: list[Message]) -> Iterable[bytes]:
        """In one piece where that can be sent. Else all that can, one by one: what one client has
        sent must not cost the others anything."""
        data = _encoding(batch)
        if data is not None and len(data) <= self._room:
            yield data
            return
        for message in batch:
            data = _encoding([message])
            if data is None:
                self._peer.unsendable(message)
            elif len(data) > self._room:
                self._peer.unsendable(message, self._room)
            else:
                yield data


def _encoding(batch: list[Message]) -> bytes | None:
    try:
        return codec.encode(batch)
    except (UnicodeEncodeError, ValueError, TypeError, OverflowError):
        return None


def _decode(data: bytes) -> list[ToGateway]:
    try:
        return codec.decode_for_gateway(data)
    except codec.BadMessage as error:
        raise _bad(error) from error


def _bad(error: codec.BadMessage) -> LinkEnded:
    return LinkEnded(f"a bad message: {str(error)[:300]}", codec.CLOSE_PROTOCOL)


async def _close(socket: ClientWebSocketResponse, code: int) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await socket.close(code=code)
    except (TimeoutError, aiohttp.ClientError, OSError):
        pass  # a cancelled close has dropped the connection already


def _why_closed(socket: ClientWebSocketResponse) -> str:
    failure = socket.exception()
    return f"close code {socket.close_code}" + (f", {failure!r}" if failure else "")


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno == errno.ECONNREFUSED


def _tell_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("a link's task failed", exc_info=task.exception())
