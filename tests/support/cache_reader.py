"""A process with caches of its own, as another gateway has them, that can be asked what it serves.

``python -m tests.support.cache_reader URL NAMESPACE POOL STALLS``: one question a line on stdin,
``NUMBER PROGRAM``; one answer a line on stdout, ``NUMBER REVISION`` or ``NUMBER none``. STALLS is
how often a second, on average, its loop stops turning for a moment.
"""

import asyncio
import contextlib
import random
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from anypod.store.keys import PoolKeys
from anypod.store.open import open_store
from anypod.store.pool_watch import PoolWatch
from anypod.store.program_cache import ProgramCache

_ROOT = Path(__file__).parents[2]
_ANSWER_SECONDS = 60.0


async def stall(often: float, rng: random.Random) -> None:
    """Block the loop now and then, for about as long as the freshness rule's intervals."""
    while True:
        await asyncio.sleep(rng.expovariate(often))
        time.sleep(rng.uniform(0.005, 0.12))


async def _answer(cache: ProgramCache, line: str) -> None:
    number, program = line.split()
    head = await cache.head(program)
    sys.stdout.write(f"{number} {head.revision if head is not None else 'none'}\n")
    sys.stdout.flush()


async def _serve(url: str, namespace: str, pool: str, stalls: float) -> None:
    store = await asyncio.to_thread(open_store, url)
    keys = PoolKeys(namespace, pool)
    watch = PoolWatch(store, keys)
    cache = ProgramCache(store, keys, watch)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    async with asyncio.TaskGroup() as tasks:
        forever = [tasks.create_task(watch.run())]
        if stalls:
            forever.append(tasks.create_task(stall(stalls, random.Random(2))))
        while line := await lines.readline():
            tasks.create_task(_answer(cache, line.decode()))
        for task in forever:
            task.cancel()
    await store.close()


class CacheReader:
    """The other end of such a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._asked: dict[int, asyncio.Future[str | None]] = {}
        self._count = 0

    async def head(self, program: str) -> str | None:
        """The revision that the process serves now."""
        self._count += 1
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._asked[self._count] = answer
        assert self._process.stdin is not None
        self._process.stdin.write(f"{self._count} {program}\n".encode())
        async with asyncio.timeout(_ANSWER_SECONDS):
            return await answer

    async def read_answers(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            number, revision = line.decode().split()
            self._asked.pop(int(number)).set_result(None if revision == "none" else revision)


@contextlib.asynccontextmanager
async def cache_reader(
    url: str, namespace: str, pool: str, stalls: float = 0.0
) -> AsyncIterator[CacheReader]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.cache_reader", url, namespace, pool, str(stalls)),
        cwd=_ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    reader = CacheReader(process)
    reading = asyncio.create_task(reader.read_answers())
    try:
        yield reader
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await reading
    assert process.returncode == 0


if __name__ == "__main__":
    url, namespace, pool, stalls = sys.argv[1:]
    asyncio.run(_serve(url, namespace, pool, float(stalls)))
