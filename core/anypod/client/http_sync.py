"""HTTP for the blocking client, by urllib3: a pool of connections, usable by many threads."""

import errno
import ssl
import time
from collections.abc import Callable, Generator
from http import HTTPStatus
from typing import NoReturn, TypeVar

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)

from anypod.client import sockets
from anypod.client.calls import Call
from anypod.client.errors import (
    AnswerLost,
    NoAnswer,
    TimedOut,
    Unreachable,
    error_from,
    reason,
)
from anypod.client.events import NothingLeft
from anypod.client.retries import Attempts
from anypod.client.settings import CONNECT_SECONDS, IDLE_SECONDS, MAX_CONNECTIONS, Settings

T = TypeVar("T")


class Transport:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._pool = urllib3.connection_from_url(
            settings.url,
            maxsize=MAX_CONNECTIONS,
            retries=False,
            socket_options=[*HTTPConnection.default_socket_options, *sockets.options()],
        )

    def close(self) -> None:
        self._pool.close()

    def send(self, call: Call[T]) -> T:
        return call.read(_repeat(self._attempts(call), lambda left: self._send(call, left)))

    def open(self, call: Call[T]) -> Generator[bytes, None, None]:
        """The answer's body as it comes, once its status says that all is well. Raises
        NothingLeft."""
        response = _repeat(self._attempts(call), lambda left: self._open(call, left))
        return _pieces(response, self.settings.stream_seconds(call))

    def _attempts(self, call: Call[T]) -> Attempts:
        settings = self.settings
        seconds = settings.seconds_for(call)
        return Attempts(settings.retries, seconds, call.repeatable, call.keyed, time.monotonic)

    def _send(self, call: Call[T], seconds: float) -> bytes:
        end = time.monotonic() + seconds
        response = self._request(call, seconds, stream=False)
        body = _all(response, end)
        if not 200 <= response.status < 300:
            raise error_from(response.status, body)
        return body

    def _open(self, call: Call[T], seconds: float) -> urllib3.BaseHTTPResponse:
        end = time.monotonic() + seconds
        response = self._request(call, seconds, stream=True)
        if not 200 <= response.status < 300:
            raise error_from(response.status, _all(response, end))
        if response.status == HTTPStatus.NO_CONTENT:
            response.release_conn()
            raise NothingLeft
        return response

    def _request(self, call: Call[T], seconds: float, stream: bool) -> urllib3.BaseHTTPResponse:
        settings = self.settings
        read = min(seconds, IDLE_SECONDS) if stream else seconds
        try:
            return self._pool.urlopen(
                call.method,
                settings.target(call),
                body=call.body,
                headers=settings.headers_for(call, stream=stream),
                timeout=urllib3.Timeout(connect=min(seconds, CONNECT_SECONDS), read=read),
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except (HTTPError, OSError) as failure:
            _raise(failure, settings.url)


def _repeat(attempts: Attempts, attempt: Callable[[float], T]) -> T:
    while True:
        try:
            return attempt(attempts.left())
        except Exception as failure:
            pause = attempts.pause(failure)
            if pause is None:
                raise
        time.sleep(pause)


def _all(response: urllib3.BaseHTTPResponse, end: float) -> bytes:
    return b"".join(_pieces(response, end - time.monotonic()))


def _pieces(
    response: urllib3.BaseHTTPResponse, seconds: float | None
) -> Generator[bytes, None, None]:
    """Until the end of the body; else the connection is closed, which cancels what runs."""
    end = None if seconds is None else time.monotonic() + seconds
    whole = False
    try:
        while piece := response.read1():
            yield piece
            if end is not None and time.monotonic() > end:
                raise TimedOut("the answer did not end in time")
        if response.length_remaining:
            raise AnswerLost(f"the answer broke off {response.length_remaining} bytes early")
        whole = True
    except (HTTPError, OSError) as failure:
        if isinstance(failure, NoAnswer):
            raise
        _raise(failure, "the gateway")
    finally:
        if whole:
            response.release_conn()
        else:
            response.close()


def _raise(failure: Exception, url: str) -> NoReturn:
    if isinstance(failure, NewConnectionError | ConnectTimeoutError) or _untrusted(failure):
        raise Unreachable(f"cannot connect to {url}: {reason(failure)}") from failure
    if isinstance(failure, ReadTimeoutError | TimeoutError) and not _vanished(failure):
        raise TimedOut(f"{url} did not answer in time") from failure
    raise AnswerLost(f"the connection to {url} broke: {reason(failure)}") from failure


def _vanished(failure: BaseException | None) -> bool:
    """It is the system that says so, of the other machine: not a deadline of ours."""
    while failure is not None:
        if isinstance(failure, OSError) and failure.errno == errno.ETIMEDOUT:
            return True
        failure = failure.__cause__
    return False


def _untrusted(failure: Exception) -> bool:
    return isinstance(failure, SSLError) and any(
        isinstance(cause, ssl.SSLCertVerificationError) for cause in failure.args
    )
