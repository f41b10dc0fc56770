"""What DSPy runs take: one at a time, and many at once.

The language model's own time is what the same client waits for its server when it asks that
directly, over a connection of the same kind, between the runs: with the server's HTTP and the
client's own. What a run takes beyond that is the rival's.
"""

import asyncio
import time
from collections.abc import Sequence

import aiohttp

from benchmarks.dspy.rivals import Rival

SECONDS = 120.0


async def in_turn(rivals: Sequence[Rival], lm_milliseconds: int, count: int) -> list[list[float]]:
    """Milliseconds of ``count`` runs of each rival, one after another over one connection each.

    The rivals take turns, and each goes first as often as any other.
    """
    taken: list[list[float]] = [[] for _ in rivals]
    async with _session() as http:
        for number in range(count):
            for place in range(len(rivals)):
                which = (number + place) % len(rivals)
                taken[which].append(1000 * await _run(http, rivals[which], lm_milliseconds))
    return taken


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
