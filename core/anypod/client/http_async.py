"""HTTP for the client that awaits, by aiohttp; its connections belong to one event loop."""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TypeVar

import aiohttp
from yarl import URL

from anypod.client import sockets
from anypod.client.calls import Call
from anypod.client.errors import AnswerLost, TimedOut, Unreachable, error_from, reason
from anypod.client.events import NothingLeft
from anypod.client.retries import Attempts
from anypod.client.settings import CONNECT_SECONDS, IDLE_SECONDS, MAX_CONNECTIONS, Settings

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Exchange:
    headers: Mapping[str, str]
    pieces: AsyncGenerator[bytes, None]
    """Of the answer's body."""
    cut: Callable[[], None]
    """Close the connection, which ends both ways."""


class Transport:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._origin = settings.url.removesuffix("/").removesuffix(settings.path)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, call: Call[T]) -> T:
        async def attempt(left: float) -> bytes:
            async with asyncio.timeout(left):
                return await self._body(call)

        return call.read(await self._repeat(call, attempt))

    async def open(self, call: Call[T]) -> AsyncGenerator[bytes, None]:
        """The answer's body as it comes, once its status says that all is well. Raises
        NothingLeft."""

        async def attempt(left: float) -> aiohttp.ClientResponse:
            async with asyncio.timeout(min(left, IDLE_SECONDS)):
                return await self._open(call)

        response = await self._repeat(call, attempt)
        return self._pieces(response, self._settings.stream_seconds(call))

    async def exchange(
        self, call: Call[None], upload: AsyncIterable[bytes], seconds: float
    ) -> "Exchange":
        """Sends while the answer comes, which has to begin within ``seconds``. Once."""
        async with self._failures(), asyncio.timeout(min(seconds, IDLE_SECONDS)):
            response = await self._open(call, upload)
        pieces = self._pieces(response, None)
        return Exchange(response.headers, pieces, partial(_break_off, response))

    def attempts(self, call: Call[T]) -> Attempts:
        settings = self._settings
        seconds = settings.seconds_for(call)
        clock = asyncio.get_running_loop().time
        return Attempts(settings.retries, seconds, call.repeatable, call.keyed, clock)

    async def _repeat(self, call: Call[T], attempt: Callable[[float], Awaitable[R]]) -> R:
        attempts = self.attempts(call)
        while True:
            try:
                async with self._failures():
                    return await attempt(attempts.left())
            except Exception as failure:
                pause = attempts.pause(failure)
                if pause is None:
                    raise
            await asyncio.sleep(pause)

    async def _body(self, call: Call[T]) -> bytes:
        async with self._request(call, stream=False) as response:
            body = await response.read()
        if not 200 <= response.status < 300:
            raise error_from(response.status, body)
        return body

    async def _open(
        self, call: Call[T], upload: AsyncIterable[bytes] | None = None
    ) -> aiohttp.ClientResponse:
        response = await self._request(call, stream=True, upload=upload)
        if response.status == HTTPStatus.NO_CONTENT:
            response.release()
            raise NothingLeft
        if 200 <= response.status < 300:
            return response
        async with response:
            raise error_from(response.status, await response.read())

    def _request(
        self, call: Call[T], *, stream: bool, upload: AsyncIterable[bytes] | None = None
    ) -> "aiohttp.client._RequestContextManager":
        settings = self._settings
        return self._connected().request(
            call.method,
            URL(self._origin + settings.target(call), encoded=True),
            data=call.body if upload is None else upload,
            headers=settings.headers_for(call, stream=stream),
            allow_redirects=False,
        )

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, socket_factory=sockets.make),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session

    async def _pieces(
        self, response: aiohttp.ClientResponse, seconds: float | None
    ) -> AsyncGenerator[bytes, None]:
        """Closing the iterator closes the connection, which cancels what runs."""
        loop = asyncio.get_running_loop()
        end = None if seconds is None else loop.time() + seconds
        try:
            async with self._failures():
                while piece := await _within(response.content.readany(), end):
                    yield piece
        finally:
            _break_off(response)

    @asynccontextmanager
    async def _failures(self) -> AsyncIterator[None]:
        url = self._settings.url
        try:
            yield
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as failure:
            raise Unreachable(f"cannot connect to {url}: {reason(failure)}") from failure
        except TimedOut:
            raise
        except TimeoutError as failure:
            raise TimedOut(f"{url} did not answer in time") from failure
        except aiohttp.ClientError as failure:
            raise AnswerLost(f"the connection to {url} broke: {failure}") from failure


def _break_off(response: aiohttp.ClientResponse) -> None:
    """A connection that is closed only would stay until the other side has read all that was
    written, and it may not read for as long as its items run."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()


async def _within(reading: Awaitable[bytes], end: float | None) -> bytes:
    idle = asyncio.get_running_loop().time() + IDLE_SECONDS
    async with asyncio.timeout_at(idle if end is None else min(idle, end)):
        return await reading
