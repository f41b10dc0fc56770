"""Asking a worker's ``/readyz``, as a kubelet would."""

import asyncio
from dataclasses import dataclass

import aiohttp

PROBE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Probe:
    answered: bool
    ready: bool = False
    message: str = ""


async def probe(http: aiohttp.ClientSession, port: int) -> Probe:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
                told = await answer.json()
                return Probe(True, answer.status == 200, str(told.get("message", "")))
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return Probe(answered=False)
