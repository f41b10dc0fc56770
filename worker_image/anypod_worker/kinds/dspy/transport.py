"""HTTP to providers over connections that outlive a run, in the place of the one of DSPy's engine.

What is said is made and read by the engine's own parts; only where its bytes go is ours. A request
is sent once: on a connection that breaks while it is being sent, it cannot have been understood, so
it goes over a new one. Once it has been sent, the provider may have worked on it, and want money:
whether to ask again is for whoever asks to decide.
"""

import asyncio
import functools
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from dspy._vendor.lm15.transports import (
    AsyncTransportResponse,
    ConnectError,
    ConnectTimeout,
    ProtocolError,
    ReadError,
    ReadTimeout,
    Timeouts,
    TransportRequest,
    WriteError,
    WriteTimeout,
)
from dspy._vendor.lm15.transports import _http11 as http11
from dspy._vendor.lm15.transports import _proxy as proxies
from dspy._vendor.lm15.transports._url import ParsedURL, parse_url

from anypod_worker.kinds.dspy import tls
from anypod_worker.kinds.dspy.connections import Origin, idle
from anypod_worker.kinds.dspy.streams import Stream, TlsStream

_USER_AGENT = "lm15/stdlib"
_PROXIES = tuple(f"{kind}_proxy" for kind in ("http", "https", "all", "no"))
_PROXY_VARIABLES = (*_PROXIES, *(name.upper() for name in _PROXIES))
LARGEST = 32 * 1024 * 1024
"""Bytes of an answer, unpacked: all that is read of one is in the memory of the runs beside it."""
_ORIGINS = 64
"""Whose proxies are remembered."""


class Route(NamedTuple):
    url: ParsedURL
    proxy: proxies.ProxyRoute | None

    @property
    def origin(self) -> Origin:
        return (proxies.route_origin(self.url, self.proxy), self.proxy)


def route(url: str) -> Route:
    """By way of the proxy that the environment says now. Raises ConnectError."""
    parsed = parse_url(url)
    said = tuple(map(os.environ.get, _PROXY_VARIABLES))
    return Route(parsed, _proxy(parsed.scheme, parsed.host, said) if any(said) else None)


@functools.lru_cache(_ORIGINS)
def _proxy(scheme: str, host: str, _: tuple[str | None, ...]) -> proxies.ProxyRoute | None:
    """For any address there: to look through the environment takes longer than to send."""
    url = parse_url(f"{scheme}://{host}" if ":" not in host else f"{scheme}://[{host}]")
    try:
        return proxies.proxy_route_for(url, proxy=None, trust_env=True)
    except ValueError:  # which repeats the proxy's URL, and that may have a password
        how = "it has to be http://HOST:PORT"
        raise ConnectError(f"the environment's proxy for {scheme} cannot be used: {how}") from None


class Transport:
    """The engine's ``AsyncTransport``, for the requests of one run."""

    def __init__(self, timeouts: Timeouts | None) -> None:
        self._timeouts = timeouts or Timeouts()

    @asynccontextmanager
    async def stream(self, request: TransportRequest) -> AsyncIterator[AsyncTransportResponse]:
        """Raises TransportError."""
        way = route(request.url)
        stream = await self._sent(way, request)
        answer = _Answer(stream, request.read_timeout or self._timeouts.read)
        try:
            head = await answer.head()
            decoder = head.body_decoder(request.method)
            yield _response(head, answer.body(decoder, head.leftover))
            if decoder.complete and not decoder.leftover and answer.may_go_on(head):
                idle.put(way.origin, stream)
            else:
                stream.close()
        except BaseException:
            stream.close()
            raise

    async def aclose(self) -> None:
        """Connections are not one run's."""

    async def _sent(self, way: Route, request: TransportRequest) -> Stream:
        """A connection over which the request has gone."""
        data = _written(way, request)
        waiting = idle.take(way.origin)
        if waiting is not None and await self._is_sent(waiting, data, request):
            return waiting
        seconds = request.connect_timeout or self._timeouts.connect
        stream = await _opened(way, seconds)
        if await self._is_sent(stream, data, request):
            return stream
        raise WriteError("the connection was closed before the request had been sent")

    async def _is_sent(self, stream: Stream, data: bytes, request: TransportRequest) -> bool:
        """False if the connection broke before all was sent."""
        seconds = request.write_timeout or self._timeouts.write
        try:
            async with asyncio.timeout(seconds):
                await stream.write(data)
        except TimeoutError:
            stream.close()
            raise WriteTimeout(f"write timed out after {seconds:g}s") from None
        except OSError:
            stream.close()
            return False
        except BaseException:
            stream.close()
            raise
        return True


def _written(way: Route, request: TransportRequest) -> bytes:
    url, headers, target = way.url, request.headers, way.url.target
    if way.proxy is not None and not url.is_tls:
        target = f"http://{url.host_header()}{url.target}"
        if way.proxy.basic_auth is not None:
            headers = [*headers, ("Proxy-Authorization", way.proxy.basic_auth)]
    body = request.body or b""
    has_body = bool(body) or request.method.upper() not in ("GET", "HEAD", "DELETE")
    head: bytes = http11.build_request_head(
        method=request.method,
        target=target,
        host=url.host,
        port=url.port,
        is_tls=url.is_tls,
        headers=headers,
        body_length=len(body) if has_body else None,
        user_agent=_USER_AGENT,
    )
    return head + body


async def _opened(way: Route, seconds: float) -> Stream:
    """A new connection to where the way goes. Raises ConnectError."""
    host, port = (way.proxy or way.url).host, (way.proxy or way.url).port
    try:
        async with asyncio.timeout(seconds):
            return await _connected(way, host, port)
    except TimeoutError:
        raise ConnectTimeout(f"timed out connecting to {host}:{port}") from None
    except ssl.SSLError as error:
        raise ConnectError(f"TLS handshake failed: {error}") from error
    except (OSError, UnicodeError) as error:  # the latter of what can be no name of a host
        raise ConnectError(f"failed to connect to {host}:{port}: {error}") from error


async def _connected(way: Route, host: str, port: int) -> Stream:
    sock = await _dialled(host, port)
    try:
        stream = Stream(sock)
        if way.url.is_tls:
            if way.proxy is not None:
                await _tunnelled(stream, way.url, way.proxy)
            stream = encrypted = TlsStream(sock, tls.context(), way.url.host)
            await encrypted.shake_hands()
    except BaseException:
        sock.close()
        raise
    return stream


async def _dialled(host: str, port: int) -> socket.socket:
    """By the first address that answers. Raises OSError."""
    loop = asyncio.get_running_loop()
    failed: OSError | None = None
    for family, kind, protocol, _, address in await _addresses(host, port):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(sock, address)
        except OSError as error:
            failed = error
            sock.close()
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failed or OSError(f"{host} has no address")


async def _addresses(host: str, port: int) -> list[Any]:
    """Only a name is looked up, which takes a thread."""
    try:
        flags = socket.AI_NUMERICHOST
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except socket.gaierror:
        loop = asyncio.get_running_loop()
        return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)


async def _tunnelled(stream: Stream, url: ParsedURL, proxy: proxies.ProxyRoute) -> None:
    await stream.write(proxies.connect_payload(url, proxy))
    head = http11.ResponseHeadParser()
    while not head.complete:
        data = await stream.read()
        if not data:
            raise ConnectError("the proxy closed the connection during CONNECT")
        head.feed(data)
    if not 200 <= head.status < 300:
        where, said = proxy.authority(url), f"{head.status} {head.reason}"
        raise ConnectError(f"the proxy refused CONNECT to {where}: {said}")
    if head.leftover:
        raise ProtocolError("the proxy sent unexpected bytes after the CONNECT response")


class _Answer:
    """Read piece by piece, as it comes."""

    def __init__(self, stream: Stream, seconds: float) -> None:
        self._stream = stream
        self._seconds = seconds
        self._is_over = False
        self._size = 0
        """Of what has been read of the body."""

    def may_go_on(self, head: http11.ResponseHeadParser) -> bool:
        """The other side would hear another request."""
        return not self._is_over and bool(head.keep_alive())

    async def head(self) -> http11.ResponseHeadParser:
        head = http11.ResponseHeadParser()
        while not head.complete:
            data = await self._read()
            if not data:
                raise ReadError("server closed connection before sending response")
            head.feed(data)
        return head

    async def body(self, decoder: Any, began: bytes) -> AsyncIterator[bytes]:
        for piece in decoder.feed(began) if began else ():
            yield self._counted(piece)
        while not decoder.complete:
            data = await self._read()
            if not data:
                decoder.eof()
                yield self._counted(decoder.drain())
                return
            for piece in decoder.feed(data):
                yield self._counted(piece)

    def _counted(self, piece: bytes) -> bytes:
        self._size += len(piece)
        if self._size > LARGEST:
            raise ProtocolError(f"the answer is longer than {LARGEST} bytes")
        return piece

    async def _read(self) -> bytes:
        try:
            async with asyncio.timeout(self._seconds):
                data = await self._stream.read()
        except TimeoutError:
            raise ReadTimeout(f"no bytes for {self._seconds:g}s: the LM's timeout") from None
        except OSError as error:
            raise ReadError(f"read failed: {error}") from error
        self._is_over = not data
        return data


async def _nothing(_: bool) -> None:
    """Where the connection goes is decided when the answer has been left."""


def _response(
    head: http11.ResponseHeadParser, body: AsyncIterator[bytes]
) -> AsyncTransportResponse:
    return AsyncTransportResponse(
        status=head.status,
        reason=head.reason,
        headers=head.headers,
        http_version=head.http_version,
        chunks=body,
        release=_nothing,
    )
