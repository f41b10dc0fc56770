"""Whoever has seen the answer of a write finds every gateway past it, however its loop stalls."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
from tests.support.cache_reader import CacheReader, cache_reader, stall
from tests.support.counted import counted

from anypod.store.keys import PoolKeys
from anypod.store.kv import KeyValue
from anypod.store.pool_watch import PoolWatch
from anypod.store.program_cache import ProgramCache
from anypod.store.programs import ProgramStore
from anypod.store.revisions import new_revision
from anypod.wire.messages import Code

PROGRAMS = 50
ROUNDS = 20
CALM_ROUNDS = 5

Read = Callable[[str], Awaitable[str | None]]


async def _write_and_read(
    programs: ProgramStore, name: str, reads: list[Read], rounds: int
) -> list[str]:
    """One program's life: update, roll back, delete, create; after each, all readers at once."""
    stale: list[str] = []
    for number in range(rounds):
        expected = await _change(programs, name, number)
        answers = await asyncio.gather(*(read(name) for read in reads for _ in range(2)))
        stale += [
            f"{name} {number}: {seen}, not {expected}" for seen in answers if seen != expected
        ]
    return stale


async def _change(programs: ProgramStore, name: str, number: int) -> str | None:
    code = Code("python", {"main.py": f"{name} {number}"}, "main:main")
    if number % 8 == 5:
        return (await programs.rollback(name)).head.revision
    if number % 8 == 7:
        await programs.delete(name)
        return None
    return (await programs.put(name, new_revision(code))).head.revision


@pytest.mark.parametrize(
    ("stalls", "rounds"), [(0.0, CALM_ROUNDS), (6.0, ROUNDS)], ids=["calm", "stalling"]
)
async def test_no_read_after_an_answered_write_is_stale(
    store: KeyValue, url: str, pool: PoolKeys, stalls: float, rounds: int
) -> None:
    observed, calls = counted(store)
    watch = PoolWatch(observed, pool)
    cache = ProgramCache(observed, pool, watch)
    programs = ProgramStore(store, pool, confirm=watch.confirm)
    reads = 0

    async def here(name: str) -> str | None:
        nonlocal reads
        reads += 1
        head = await cache.head(name)
        return head.revision if head is not None else None

    async with cache_reader(url, "test", pool.pool, stalls) as there, asyncio.TaskGroup() as tasks:
        forever = [tasks.create_task(watch.run())]
        if stalls:
            forever.append(tasks.create_task(stall(stalls, random.Random(1))))
        stale = await _all_lives(programs, [here, there.head], rounds)
        for task in forever:
            task.cancel()
    assert stale == []
    # One in eight asks for what was deleted; the others were served from memory.
    assert calls["get"] < reads / 2


async def _all_lives(programs: ProgramStore, reads: list[Read], rounds: int) -> list[str]:
    names = (f"p{number}" for number in range(PROGRAMS))
    lives = (_write_and_read(programs, name, reads, rounds) for name in names)
    return [line for life in await asyncio.gather(*lives) for line in life]


async def test_the_rule_is_what_keeps_reads_fresh(
    store: KeyValue, url: str, pool: PoolKeys
) -> None:
    """Without the writer's wait the same test finds stale reads: it can fail."""
    programs = ProgramStore(store, pool)
    async with cache_reader(url, "test", pool.pool) as there:
        stale = await _until_stale(programs, there)
    assert stale


async def _until_stale(programs: ProgramStore, there: CacheReader) -> bool:
    for number in range(2000):
        expected = await _change(programs, "p", number % 4)
        if await there.head("p") != expected:
            return True
    return False
