"""Requests to a provider: over which connection they go, and how often."""

import asyncio
import base64
import contextlib
import gzip
import ssl
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
from dspy._vendor.lm15.transports import (
    ConnectError,
    ConnectTimeout,
    ReadError,
    ReadTimeout,
    Timeouts,
    TransportRequest,
    WriteTimeout,
)
from tests.cluster.certificates import Authority

from anypod_worker.kinds.dspy import tls, transport
from anypod_worker.kinds.dspy.transport import Transport

T = TypeVar("T")
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
PATIENCE = 30.0
pytestmark = pytest.mark.usefixtures("waiting")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
# Without the time of its making: a test is named after it, in each process that runs tests.
ZIPPED = gzip.compress(b"ok", mtime=0)


class Server:
    """Answers each request in turn; the last answer again and again."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers) or [OK]
        self.asked: list[bytes] = []
        self.connections = 0
        self.url = ""
        self.left = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            while True:
                self.asked.append(await request(reader))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if not answer:
                    await reader.read()
                    return
                writer.write(answer.removesuffix(b"<close>"))
                if answer.endswith(b"<close>"):
                    return
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            self.left.set()
        finally:
            writer.close()

    async def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(ConnectionError, TimeoutError):
                await writer.wait_closed()


async def request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    return head + await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)


@asynccontextmanager
async def served(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Its port. Callers close their connections before it ends."""
    handling: set[asyncio.Task[None]] = set()

    def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.add(asyncio.ensure_future(handler(reader, writer)))

    how = {} if tls is None else {"ssl": tls, "ssl_shutdown_timeout": 0.01}
    server = await asyncio.start_server(handle, "127.0.0.1", 0, **how)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for waiting in transport.idle._waiting:
            waiting.stream.close()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*handling)


@asynccontextmanager
async def serving(*answers: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(*answers)
    async with served(server.serve, tls) as port:
        server.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{port}/v1"
        yield server


async def ask(url: str, body: bytes = b"{}", timeouts: Timeouts | None = None, **how: Any) -> bytes:
    headers = [("Authorization", f"Bearer {how.pop('key', 'k')}")]
    async with Transport(timeouts).stream(
        TransportRequest("POST", url, headers, body, **how)
    ) as response:
        assert response.status == 200
        read: bytes = await response.read()
        return read


async def test_the_next_request_goes_over_the_same_connection_with_its_own_key() -> None:
    async with serving() as server:
        for key in ("one", "two"):
            assert await ask(server.url, key=key) == b"ok"
        assert server.connections == 1
        keys = [asked.split(b"Bearer ")[1].split(b"\r\n")[0] for asked in server.asked]
        assert keys == [b"one", b"two"]


async def test_those_at_the_same_time_have_one_each() -> None:
    async with serving() as server:
        answers = await asyncio.gather(*(ask(server.url) for _ in range(5)))
        assert answers == [b"ok"] * 5
        assert server.connections == 5
        await ask(server.url)
        assert server.connections == 5


async def test_another_loop_goes_on_with_it() -> None:
    async with serving() as server:

        def in_a_loop_of_its_own() -> bytes:
            return asyncio.run(ask(server.url))

        for _ in range(3):
            assert await asyncio.to_thread(in_a_loop_of_its_own) == b"ok"
        assert server.connections == 1


async def test_another_place_has_a_connection_of_its_own() -> None:
    async with serving() as one, serving() as other:
        for server in (one, other, one, other):
            await ask(server.url)
        assert (one.connections, other.connections) == (1, 1)
        assert (len(one.asked), len(other.asked)) == (2, 2)


async def test_one_that_was_closed_meanwhile_is_no_error() -> None:
    async with serving() as server:
        await ask(server.url)
        await server.hang_up()
        assert await ask(server.url) == b"ok"
        assert server.connections == 2
        assert len(server.asked) == 2


async def test_what_has_been_sent_is_not_sent_again() -> None:
    """The provider may have worked on it."""
    async with serving(OK, b"<close>", OK) as server:
        await ask(server.url)
        with pytest.raises(ReadError):
            await ask(server.url)
        assert len(server.asked) == 2
        assert await ask(server.url) == b"ok"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK",
        b"HTTP/1.1 200 OK\r\n\r\nok<close>",
    ],
)
async def test_after_an_answer_that_ends_it_comes_a_new_one(answer: bytes) -> None:
    async with serving(answer) as server:
        for _ in range(2):
            assert await ask(server.url) == b"ok"
        assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s"
        % (len(ZIPPED), ZIPPED),
    ],
)
async def test_however_it_is_said_it_is_read_to_its_end(answer: bytes) -> None:
    async with serving(answer) as server:
        for _ in range(2):
            assert await ask(server.url) == b"ok"
        assert server.connections == 1


async def test_who_leaves_takes_the_connection_along() -> None:
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\nok"
    async with serving(OK, half, OK) as server, asyncio.timeout(PATIENCE):
        await ask(server.url)
        leaving = asyncio.create_task(ask(server.url))
        while len(server.asked) < 2:
            await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await server.left.wait()
        assert await ask(server.url) == b"ok"
        assert server.connections == 2


async def test_who_does_not_read_to_the_end_takes_it_along() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok") as server:
        async with Transport(None).stream(TransportRequest("POST", server.url)) as response:
            assert response.status == 200
        assert len(transport.idle) == 0


async def test_a_silent_provider_is_waited_for_so_long() -> None:
    async with serving(b"") as server:
        with pytest.raises(ReadTimeout):
            await ask(server.url, timeouts=Timeouts(read=0.05))
        assert len(transport.idle) == 0


async def test_one_that_reads_nothing_too() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.wait_for(released.wait(), PATIENCE)
        writer.close()

    released = asyncio.Event()
    async with served(deaf) as port:
        with pytest.raises(WriteTimeout):
            await ask(f"http://127.0.0.1:{port}/", b"x" * 2**24, Timeouts(write=0.05))
        released.set()


async def test_where_nobody_listens_it_says_so() -> None:
    async with serving() as server:
        url = server.url
    with pytest.raises(ConnectError, match=r"failed to connect to 127\.0\.0\.1"):
        await ask(url)
    for host in ("nowhere.invalid", "a..b"):
        with pytest.raises(ConnectError, match=rf"failed to connect to {host}"):
            await ask(f"http://{host}/v1")


async def test_a_name_is_looked_up() -> None:
    async with serving() as server:
        assert await ask(server.url.replace("127.0.0.1", "localhost")) == b"ok"


# over TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("transport") / "certificates")
    authority.create()
    authority.issue("server", "/CN=lm", "IP:127.0.0.1")
    return authority


@pytest.fixture
def certified(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """The server's; whom it trusts, the transport does too."""
    trusted = ssl.create_default_context(cafile=str(authority.certificate))
    monkeypatch.setattr(tls, "context", lambda: trusted)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issued = authority.issued("server")
    context.load_cert_chain(issued.certificate, issued.key)
    return context


async def test_an_encrypted_connection_is_shared_by_loops_too(certified: ssl.SSLContext) -> None:
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"a" * 3_000_000
    async with serving(big, tls=certified) as server:
        for _ in range(2):
            read = await asyncio.to_thread(asyncio.run, ask(server.url, b"q" * 1_000_000))
            assert read == b"a" * 3_000_000
        assert server.connections == 1
        assert [len(asked) for asked in server.asked] == [len(server.asked[0])] * 2


async def test_an_encrypted_one_that_was_closed_meanwhile_is_no_error(
    certified: ssl.SSLContext,
) -> None:
    async with serving(tls=certified) as server:
        await ask(server.url)
        await server.hang_up()
        assert await ask(server.url) == b"ok"
        assert server.connections == 2


async def test_whom_it_does_not_know_it_tells_nothing(
    certified: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = ssl.create_default_context()
    monkeypatch.setattr(tls, "context", lambda: strict)
    async with serving(tls=certified) as server:
        with pytest.raises(ConnectError, match="TLS handshake failed"):
            await ask(server.url)
        assert server.asked == []


async def test_a_handshake_that_does_not_end_is_broken_off(certified: ssl.SSLContext) -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with served(mute) as port:
        with pytest.raises(ConnectTimeout):
            await ask(f"https://127.0.0.1:{port}/", timeouts=Timeouts(connect=0.05))


# by a proxy


class Proxy:
    """Passes on what it is told to, and keeps the first lines."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.refuses = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        if self.refuses:
            writer.write(b"HTTP/1.1 407 Who are you\r\n\r\n")
            writer.close()
            return
        if not head.startswith(b"CONNECT"):
            writer.write(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            writer.close()
            return
        host, port = head.split()[1].decode().split(":")
        there, to = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Go ahead\r\n\r\n")
        await asyncio.gather(_pass(reader, to), _pass(there, writer))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except ConnectionError:
        pass
    writer.close()


@asynccontextmanager
async def proxying(monkeypatch: pytest.MonkeyPatch, scheme: str) -> AsyncIterator[Proxy]:
    proxy = Proxy()
    async with served(proxy.serve) as port:
        monkeypatch.setenv(f"{scheme}_proxy", f"http://me:secret@127.0.0.1:{port}")
        yield proxy


async def test_the_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxying(monkeypatch, "http") as proxy:
        assert await ask("http://lm.example/v1") == b"ok"
        head = proxy.heads[0]
        assert head.startswith(b"POST http://lm.example/v1 HTTP/1.1\r\n")
        assert b"Basic " + base64.b64encode(b"me:secret") in head


async def test_through_a_tunnel_it_is_encrypted_and_shared(
    certified: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tls=certified) as server, proxying(monkeypatch, "https") as proxy:
        for _ in range(2):
            assert await ask(server.url) == b"ok"
        assert [head.split()[0] for head in proxy.heads] == [b"CONNECT"]
        assert server.connections == 1


async def test_a_proxy_that_refuses_says_why(
    certified: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxying(monkeypatch, "https") as proxy:
        proxy.refuses = True
        with pytest.raises(ConnectError, match="407 Who are you"):
            await ask("https://lm.example/v1")


@pytest.mark.parametrize("address", ["socks5://me:secret@127.0.0.1:1", "http://me:secret@lm:x"])
async def test_a_proxy_that_cannot_be_used_is_told_without_its_password(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", address)
    with pytest.raises(ConnectError, match="proxy for http cannot be used") as caught:
        await ask("http://lm.example/v1")
    assert "secret" not in "".join(traceback.format_exception(caught.value))


async def test_an_environment_that_has_changed_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as server, proxying(monkeypatch, "http") as proxy:
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        await ask(server.url)
        assert (server.connections, proxy.heads) == (1, [])
        monkeypatch.delenv("no_proxy")
        await ask(server.url)
        assert len(server.asked) == 1
        assert len(proxy.heads) == 1
