"""Answers that are written in one piece.

The answer of a run always has the same few headers. Making it the general way (a mapping of
headers, defaults, a payload writer) costs more than everything else that a gateway does for a short
call, so its head is text from the beginning, and ``connections.Connection`` writes head and body at
once. Where that does not do (HTTP/1.0, a long body, a client that does not read), ``general`` gives
the ordinary answer with the same content.
"""

import time
from email.utils import formatdate

from aiohttp import web
from aiohttp.http import SERVER_SOFTWARE
from multidict import CIMultiDict

LONGEST = 64 * 1024
"""Bytes of a body; and of what may wait in a connection for its client."""


class Whole(web.StreamResponse):
    """A 200 with a body."""

    def __init__(self, headers: str, body: bytes) -> None:
        """``headers``: lines that each end in CR LF, without what every answer has; their values
        must hold no line end."""
        super().__init__()
        self._lines = headers
        self._content = body
        self._closes = False

    @property
    def keep_alive(self) -> bool:
        return not self._closes

    def force_close(self) -> None:
        self._closes = True

    @property
    def is_short(self) -> bool:
        return len(self._content) <= LONGEST

    def encode(self) -> bytes:
        """The whole answer, for HTTP/1.1."""
        close = "Connection: close\r\n" if self._closes else ""
        head = (
            f"HTTP/1.1 200 OK\r\n{self._lines}Content-Length: {len(self._content)}\r\n"
            f"Date: {_clock.date()}\r\nServer: {SERVER_SOFTWARE}\r\n{close}\r\n"
        )
        return head.encode("ascii") + self._content

    def general(self) -> web.Response:
        headers: CIMultiDict[str] = CIMultiDict()
        for line in self._lines.splitlines():
            name, _, value = line.partition(": ")
            headers[name] = value
        response = web.Response(body=self._content, headers=headers)
        if self._closes:
            response.force_close()
        return response


class _Clock:
    """The date of an answer, made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._date = ""

    def date(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second, self._date = second, formatdate(second, usegmt=True)
        return self._date


_clock = _Clock()
