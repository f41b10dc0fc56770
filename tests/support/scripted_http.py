"""An HTTP server that does to each request what the test has written down, byte for byte.

For what no gateway does on purpose: half an answer, a connection cut, bytes in odd pieces.
"""

import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Action = Callable[[socket.socket], None]


@dataclass(frozen=True)
class Request:
    line: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class ScriptedServer:
    port: int
    requests: list[Request] = field(default_factory=list)
    client_left: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def answers(
    status: int,
    document: Any = None,
    *,
    content_type: str = "application/json",
    headers: dict[str, str] | None = None,
) -> Action:
    body = b"" if document is None else json.dumps(document).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Type: {content_type}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    data = "\r\n".join(lines).encode() + body
    return lambda connection: connection.sendall(data)


def refuses(type_: str, status: int, **members: Any) -> Action:
    document = {"type": type_, "title": type_, "status": status, "detail": "scripted", **members}
    return answers(status, document, content_type="application/problem+json")


def hangs_up(connection: socket.socket) -> None:
    """After the whole request was read."""
    connection.shutdown(socket.SHUT_RDWR)


def vanishes(connection: socket.socket) -> None:
    """As a machine without power: no goodbye. Needs root; TCP_REPAIR is what moves connections."""
    connection.setsockopt(socket.IPPROTO_TCP, 19, 1)
    raise ConnectionError("gone")


def streams(pieces: Sequence[bytes], *, whole: bool = True, cut: Action = hangs_up) -> Action:
    """Event stream in chunks as given; not ``whole`` cuts the connection after them."""

    def act(connection: socket.socket) -> None:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for piece in pieces:
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        if whole:
            connection.sendall(b"0\r\n\r\n")
        else:
            cut(connection)

    return act


@contextmanager
def scripted(*actions: Action) -> Iterator[ScriptedServer]:
    """One action per request, in the order in which they come; no more may come."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = ScriptedServer(listener.getsockname()[1])
        script = iter(actions)
        thread = threading.Thread(target=_serve, args=(listener, server, script))
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def _serve(listener: socket.socket, server: ScriptedServer, script: Iterator[Action]) -> None:
    connections: list[threading.Thread] = []
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            break
        connection.settimeout(30)
        thread = threading.Thread(target=_converse, args=(connection, server, script), daemon=True)
        thread.start()
        connections.append(thread)


def _converse(connection: socket.socket, server: ScriptedServer, script: Iterator[Action]) -> None:
    with connection, connection.makefile("rb") as reader:
        while True:
            try:
                request = _read(reader)
            except OSError:
                request = None
            if request is None:
                server.client_left.set()
                return
            server.requests.append(request)
            try:
                next(script)(connection)
            except (OSError, StopIteration):
                return


def _read(reader: Any) -> Request | None:
    line = reader.readline().decode().strip()
    if not line:
        return None
    headers = {}
    while header := reader.readline().decode().strip():
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    return Request(line, headers, reader.read(int(headers.get("content-length", 0))))
