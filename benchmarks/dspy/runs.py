"""What DSPy runs take beyond the language model's own time: one at a time, and many at once."""

import asyncio
import time

import aiohttp

from benchmarks.dspy.rivals import Rival

SECONDS = 120.0


async def overheads(rival: Rival, lm_milliseconds: int, count: int) -> list[float]:
    """Milliseconds of ``count`` runs, one after another over one connection, less the LM's."""
    async with _session() as http:
        return [
            1000 * await _run(http, rival, lm_milliseconds) - lm_milliseconds for _ in range(count)
        ]


async def at_once(rival: Rival, lm_milliseconds: int, count: int) -> float:
    """Seconds until all of ``count`` runs that were begun together have ended."""
    async with _session() as http:
        began = time.perf_counter()
        await asyncio.gather(*(_run(http, rival, lm_milliseconds) for _ in range(count)))
        return time.perf_counter() - began


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=SECONDS)
    )


async def _run(http: aiohttp.ClientSession, rival: Rival, lm_milliseconds: int) -> float:
    """Seconds."""
    began = time.perf_counter()
    headers = {"Content-Type": "application/json"}
    async with http.post(rival.urls[lm_milliseconds], data=rival.body, headers=headers) as answer:
        text = await answer.text()
        assert answer.status == 200, f"{rival.name}: {answer.status} {text}"
    return time.perf_counter() - began
