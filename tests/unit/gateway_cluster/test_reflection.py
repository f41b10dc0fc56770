"""A server in trouble is not asked without a pause, and one line says so."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from anypod_gateway.cluster.connection import ApiAway, Expired, Forbidden
from anypod_gateway.cluster.reflection import Reflection
from anypod_gateway.cluster.source import _are_known

SECONDS = 1.5
MOST = 12
"""Pauses begin at 50 ms and double to a second; chance adds a quarter."""


class Troubled:
    """Lists, and ends or refuses every watch at once."""

    def __init__(self, end: Exception | None) -> None:
        self.lists = self.watches = 0
        self._end = end

    async def list_all(self, path: str, selector: str) -> tuple[list[object], str]:
        self.lists += 1
        return [], "1"

    async def watch(self, path: str, selector: str, since: str) -> AsyncIterator[object]:
        self.watches += 1
        if self._end is not None:
            raise self._end
        return
        yield


@pytest.mark.parametrize("end", [None, ApiAway("403"), Expired("410")])
async def test_a_watch_that_ends_at_once_is_not_begun_again_at_once(
    end: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    api = Troubled(end)
    reflection = Reflection(api, "/p", "", lambda: None)  # type: ignore[arg-type]
    with caplog.at_level(logging.INFO), pytest.raises(TimeoutError):
        async with asyncio.timeout(SECONDS):
            await reflection.run()
    assert 1 <= api.watches <= MOST
    assert api.lists <= MOST
    assert len(caplog.records) <= 1
    assert reflection.is_synced


class Refusing:
    """Lists, unless it is told to raise."""

    def __init__(self) -> None:
        self.refusal: Exception | None = None

    async def list_all(self, path: str, selector: str) -> tuple[list[object], str]:
        if self.refusal is not None:
            raise self.refusal
        return [{"metadata": {"name": "p", "namespace": "a"}}], "1"

    async def watch(self, path: str, selector: str, since: str) -> AsyncIterator[object]:
        raise self.refusal or ApiAway("cut")
        yield


async def test_what_may_not_be_read_any_more_stays_as_it_was() -> None:
    api, changed = Refusing(), asyncio.Event()
    reflection = Reflection(api, "/p", "", changed.set)  # type: ignore[arg-type]
    task = asyncio.create_task(reflection.run())
    async with asyncio.timeout(30):
        await changed.wait()
        api.refusal = Forbidden("403")
        while not reflection.is_refused:
            changed.clear()
            await changed.wait()
        assert len(reflection.objects) == 1
        api.refusal = None
        while reflection.is_refused:
            changed.clear()
            await changed.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_all_is_known_when_what_may_be_read_is_and_that_is_something() -> None:
    read, refused, unread = (Reflection(None, "/p", "", bool) for _ in range(3))  # type: ignore[arg-type]
    read.is_synced = refused.is_refused = True
    assert _are_known([read, refused], [read])
    assert not _are_known([read, unread], [read])
    assert not _are_known([refused, refused], [refused])
