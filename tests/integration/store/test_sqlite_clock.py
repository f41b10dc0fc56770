"""Leases of a SQLite file end by a clock that nobody sets, and that outlives a boot."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from anypod.store import sqlite_clock
from anypod.store.kv import KeyValue, Put
from anypod.store.open import open_store

AN_HOUR = 3600.0


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[KeyValue]:
    store = await asyncio.to_thread(open_store, f"sqlite:{directory / 'store.db'}")
    try:
        yield store
    finally:
        await store.close()


def set_wall_clock(patch: pytest.MonkeyPatch, seconds: float) -> None:
    real = time.time
    patch.setattr(time, "time", lambda: real() + seconds)


def boot(patch: pytest.MonkeyPatch, directory: Path, after: float) -> None:
    """The machine is started, so long after its last start."""
    identity = directory / "boot_id"
    identity.write_text(f"{after}\n")
    patch.setattr(sqlite_clock, "_BOOT_ID", identity)
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    patch.setattr(
        sqlite_clock, "_since_boot", lambda: time.clock_gettime(time.CLOCK_BOOTTIME) - now
    )
    set_wall_clock(patch, after)


@pytest.mark.parametrize("seconds", [AN_HOUR, -AN_HOUR])
async def test_a_wall_clock_that_is_set_ends_no_lease_and_prolongs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    async with opened(tmp_path) as store:
        lease = await store.grant(60)
        await store.commit([Put("/x/a", b"1", lease)])
        set_wall_clock(monkeypatch, seconds)
        async with opened(tmp_path) as other:  # a process that begins afterwards
            for one in (store, other):
                left = await one.time_left(lease)
                assert left is not None
                assert 0 < left <= 60
                assert await one.get("/x/a") is not None
            assert await other.renew(lease)


async def test_time_that_a_machine_was_off_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as store:
        short, long = await store.grant(AN_HOUR), await store.grant(3 * AN_HOUR)
        await store.commit([Put("/x/short", b"1", short), Put("/x/long", b"1", long)])
    boot(monkeypatch, tmp_path, after=2 * AN_HOUR)
    async with opened(tmp_path) as store:
        assert await store.get("/x/short") is None
        left = await store.time_left(long)
        assert left is not None
        assert left <= AN_HOUR


async def test_a_file_of_before_there_was_such_a_clock_is_taken_over(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit([Put("/x/a", b"1", await store.grant(AN_HOUR))])
    await asyncio.to_thread(_forget_clock, tmp_path / "store.db")
    async with opened(tmp_path) as store:
        assert await store.get("/x/a") is not None


def _forget_clock(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("DROP TABLE clock")
    file.close()
