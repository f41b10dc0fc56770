"""Asking a process over HTTP how it is.

By hand, in HTTP/1.0: importing a client takes longer than starting all workers does.
"""

import asyncio
import json
from dataclasses import dataclass

MAX_ANSWER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Health:
    ready: bool
    message: str
    """Why it is not."""


SILENT = Health(ready=False, message="does not answer")


class NoAnswer(Exception):
    """Nobody answered in time."""


async def ask(host: str, port: int, path: str, seconds: float) -> Health:
    """Raises NoAnswer."""
    try:
        async with asyncio.timeout(seconds):
            answer = await _get(host, port, path)
        head, _, body = answer.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
    except (OSError, TimeoutError, ValueError, IndexError) as reason:
        raise NoAnswer(str(reason) or type(reason).__name__) from None
    return Health(status == 200, "" if status == 200 else _message(body))


async def _get(host: str, port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection(host, port, limit=MAX_ANSWER_BYTES)
    try:
        shown = f"[{host}]" if ":" in host else host
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {shown}:{port}\r\n\r\n".encode())
        answer = b""
        while len(answer) < MAX_ANSWER_BYTES and (piece := await reader.read(MAX_ANSWER_BYTES)):
            answer += piece
        return answer
    finally:
        writer.close()


def _message(body: bytes) -> str:
    """A worker answers with JSON, a gateway with text."""
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace").strip()
