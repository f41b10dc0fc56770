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


class Machine:
    """The clocks of one, which can be set, and which can sleep and be started again."""

    def __init__(self, patch: pytest.MonkeyPatch, directory: Path) -> None:
        self._wall, self._kernel = time.time, time.clock_gettime
        self._identity = directory / "boot_id"
        self._passed = self._slept = self._set = 0.0
        self._booted = 0.0
        self._boot()
        patch.setattr(sqlite_clock, "_BOOT_ID", self._identity)
        patch.setattr(time, "time", lambda: self._wall() + self._passed + self._set)
        patch.setattr(time, "clock_gettime", self._clock_gettime)

    def _clock_gettime(self, which: int) -> float:
        now = self._kernel(time.CLOCK_MONOTONIC) - self._booted
        return now + self._slept if which == time.CLOCK_BOOTTIME else now

    def set_wall_clock(self, seconds: float) -> None:
        self._set += seconds

    def sleep(self, seconds: float) -> None:
        self._passed += seconds
        self._slept += seconds

    def start_again(self, after: float) -> None:
        self._passed += after
        self._slept = 0.0
        self._boot()

    def _boot(self) -> None:
        self._booted = self._kernel(time.CLOCK_MONOTONIC)
        self._identity.write_text(f"{self._booted}\n")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(monkeypatch, tmp_path)


@pytest.mark.parametrize("seconds", [AN_HOUR, -AN_HOUR])
async def test_a_wall_clock_that_is_set_ends_no_lease_and_prolongs_none(
    tmp_path: Path, machine: Machine, seconds: float
) -> None:
    async with opened(tmp_path) as store:
        lease = await store.grant(60)
        await store.commit([Put("/x/a", b"1", lease)])
        machine.set_wall_clock(seconds)
        async with opened(tmp_path) as other:  # a process that begins afterwards
            for one in (store, other):
                left = await one.time_left(lease)
                assert left is not None
                assert 0 < left <= 60
                assert await one.get("/x/a") is not None
            assert await other.renew(lease)


async def test_time_that_a_machine_was_off_counts(tmp_path: Path, machine: Machine) -> None:
    async with opened(tmp_path) as store:
        short, long = await store.grant(AN_HOUR), await store.grant(3 * AN_HOUR)
        await store.commit([Put("/x/short", b"1", short), Put("/x/long", b"1", long)])
    machine.start_again(after=2 * AN_HOUR)
    async with opened(tmp_path) as store:
        assert await store.get("/x/short") is None
        left = await store.time_left(long)
        assert left is not None
        assert left <= AN_HOUR


async def test_time_that_a_machine_slept_does_not_count(tmp_path: Path, machine: Machine) -> None:
    """For who holds a lease cannot renew it meanwhile."""
    machine.sleep(AN_HOUR)  # before there was a file
    async with opened(tmp_path) as store:
        lease = await store.grant(60)
        await store.commit([Put("/x/a", b"1", lease)])
        machine.sleep(2 * AN_HOUR)
        async with opened(tmp_path) as other:
            for one in (store, other):
                left = await one.time_left(lease)
                assert left is not None
                assert 0 < left <= 60
                assert await one.get("/x/a") is not None
            assert await other.renew(lease)


async def test_time_that_a_machine_slept_does_not_count_when_it_is_started_again(
    tmp_path: Path, machine: Machine
) -> None:
    """Nor at later times that it is."""
    async with opened(tmp_path) as store:
        machine.sleep(8 * AN_HOUR)
        lease = await store.grant(3 * AN_HOUR)
    for left_at_most in (2 * AN_HOUR, AN_HOUR):
        machine.start_again(after=AN_HOUR)
        async with opened(tmp_path) as store:
            left = await store.time_left(lease)
            assert left is not None
            assert left_at_most - 60 < left <= left_at_most
            machine.sleep(8 * AN_HOUR)
            assert await store.renew(await store.grant(60))


async def test_a_file_of_before_there_was_such_a_clock_is_taken_over(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit([Put("/x/a", b"1", await store.grant(AN_HOUR))])
    await asyncio.to_thread(_forget_clock, tmp_path / "store.db")
    async with opened(tmp_path) as store:
        assert await store.get("/x/a") is not None


def _forget_clock(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("DROP TABLE boots")
    file.close()
