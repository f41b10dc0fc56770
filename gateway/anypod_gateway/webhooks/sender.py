"""One attempt to tell a receiver: a POST, and a yes or a no. No redirect is followed, and no body
of an answer is read: it could be anything's."""

import asyncio
import re
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aiohttp
from yarl import URL

import anypod
from anypod.api.webhooks import signature
from anypod_gateway.webhooks.guard import Guard, Refused
from anypod_gateway.webhooks.names import Names

DEADLINE_SECONDS = 15.0
LONGEST_PATIENCE = 3600
GONE = 410
_AGENT = f"AnyPod/{anypod.__version__}"
_SECONDS = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Outcome:
    problem: str = ""
    """Why it is not told; empty if it is. Nothing of the address or of an answer stands in it."""
    is_final: bool = True
    """Another attempt would be no use."""
    asked: int = 0
    """Seconds that the receiver wants to be left alone for."""


async def send(
    url: str, message: str, body: bytes, keys: Sequence[bytes], guard: Guard, names: Names
) -> Outcome:
    now = int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": _AGENT,
        "webhook-id": message,
        "webhook-timestamp": str(now),
        "webhook-signature": " ".join(signature(key, message, now, body) for key in keys),
    }
    try:
        return await _post(url, headers, body, guard, names)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as failure:
        return _why(failure)


async def _post(
    url: str, headers: Mapping[str, str], body: bytes, guard: Guard, names: Names
) -> Outcome:
    connector = aiohttp.TCPConnector(
        resolver=names, use_dns_cache=False, force_close=True, socket_factory=guard.socket
    )
    async with (
        aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=DEADLINE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        ) as http,
        http.post(
            URL(url, encoded=True), headers=headers, data=body, allow_redirects=False
        ) as answer,
    ):
        return _heard(answer.status, answer.headers.get("Retry-After", ""))


def _heard(status: int, retry_after: str) -> Outcome:
    if 200 <= status < 300:
        return Outcome()
    asked = int(retry_after) if _SECONDS.fullmatch(retry_after) else 0
    return Outcome(
        f"it answered {status}", is_final=status == GONE, asked=min(asked, LONGEST_PATIENCE)
    )


def _why(failure: Exception) -> Outcome:
    cause = getattr(failure, "os_error", failure)
    match cause:
        case Refused():
            return Outcome(str(cause))
        case TimeoutError() | asyncio.TimeoutError():
            return _later(f"it did not answer within {DEADLINE_SECONDS:g} seconds")
        case socket.gaierror():
            return _later("its name was not found")
        case ssl.SSLError() | ssl.CertificateError():
            return _later("it showed no certificate that could be trusted")
        case aiohttp.ClientSSLError():
            return _later("it showed no certificate that could be trusted")
        case aiohttp.ClientConnectorError() | OSError():
            return _later("it could not be reached")
        case ValueError():  # of aiohttp: no URL that it can call
            return Outcome("its URL cannot be called")
    return _later("it broke the connection, or does not speak HTTP")


def _later(problem: str) -> Outcome:
    return Outcome(problem, is_final=False)
